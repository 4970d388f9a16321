"""The NATS configuration grammar: text to values that know where they stand, and values to text.

`parser` reads files with what they include and the variables they use, `writer` writes what a nats-server reads
back as the same values. What a key means is not known here.

Source: operations specification, section 2.1.
"""
