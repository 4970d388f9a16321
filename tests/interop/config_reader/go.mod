module config_reader

go 1.20

require github.com/nats-io/nats-server/v2 v2.9.24
