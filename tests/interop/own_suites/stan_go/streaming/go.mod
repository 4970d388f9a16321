// Stands in for the module of that name when stan.go's tests are built; see server/server.go.
module github.com/nats-io/nats-streaming-server

go 1.14
