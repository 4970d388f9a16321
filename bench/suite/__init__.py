"""`make bench`: ours and the Go server side by side, how ours grows, and how near it is to what NATS allows.

    python -m bench.suite [--quick] [--only NAME]... [--readme]

`workloads`, `growth` and `ceiling` say what is measured, `runner` measures it in alternating rounds, `results` keeps
the raw numbers, `page` and `plots` show them. Linux only: processor time and memory are read from /proc.
"""
