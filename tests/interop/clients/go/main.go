// The scenario program for github.com/nats-io/stan.go. It obeys the line protocol of ../../README.md and decides nothing itself.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/stan.go"
)

type messageKey struct {
	name     string
	sequence uint64
}

var (
	outMutex      sync.Mutex
	connection    stan.Conn
	subscriptions = map[string]stan.Subscription{}
	receivedMutex sync.Mutex
	received      = map[messageKey]*stan.Msg{}
)

func emit(words ...interface{}) {
	outMutex.Lock()
	defer outMutex.Unlock()
	fmt.Fprintln(os.Stdout, words...)
}

func unhex(word string) []byte {
	if word == "-" {
		return nil
	}
	data, err := hex.DecodeString(word)
	if err != nil {
		panic(err)
	}
	return data
}

func number(word string) int {
	value, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		panic(err)
	}
	return int(value)
}

func connect(url, cluster, client, pingSeconds, pingMaxOut string) (err error) {
	connection, err = stan.Connect(cluster, client,
		stan.NatsURL(url),
		stan.NatsOptions(nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(0, 0), nats.MaxReconnects(-1)),
		stan.ConnectWait(5*time.Second),
		stan.PubAckWait(10*time.Second),
		stan.Pings(number(pingSeconds), number(pingMaxOut)),
		stan.SetConnectionLostHandler(func(_ stan.Conn, reason error) { emit("lost", reason) }))
	return err
}

func publishAsync(channel string, count int, payload []byte) error {
	acks := make(chan error, count)
	for i := 1; i <= count; i++ {
		data := append(append([]byte{}, payload...), strconv.Itoa(i)...)
		if _, err := connection.PublishAsync(channel, data, func(_ string, err error) { acks <- err }); err != nil {
			return err
		}
	}
	var failure error
	for i := 0; i < count; i++ {
		if err := <-acks; err != nil {
			failure = err
		}
	}
	return failure
}

func startAt(start string) stan.SubscriptionOption {
	kind, value, _ := strings.Cut(start, ":")
	switch kind {
	case "new":
		return stan.StartAt(0)
	case "last":
		return stan.StartWithLastReceived()
	case "first":
		return stan.DeliverAllAvailable()
	case "sequence":
		return stan.StartAtSequence(uint64(number(value)))
	case "time":
		return stan.StartAtTime(time.UnixMilli(int64(number(value))))
	case "delta":
		return stan.StartAtTimeDelta(time.Duration(number(value)) * time.Millisecond)
	}
	panic("no start position " + start)
}

func subscribe(name, channel string, words []string) error {
	var options []stan.SubscriptionOption
	queue := ""
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "queue":
			queue = value
		case "durable":
			options = append(options, stan.DurableName(value))
		case "start":
			options = append(options, startAt(value))
		case "max_in_flight":
			options = append(options, stan.MaxInflight(number(value)))
		case "ack_wait":
			options = append(options, stan.AckWait(time.Duration(number(value))*time.Second))
		case "manual":
			options = append(options, stan.SetManualAckMode())
		default:
			return fmt.Errorf("no subscription option %s", word)
		}
	}
	onMessage := func(message *stan.Msg) {
		receivedMutex.Lock()
		received[messageKey{name, message.Sequence}] = message
		receivedMutex.Unlock()
		redelivered, payload := 0, "-"
		if message.Redelivered {
			redelivered = 1
		}
		if len(message.Data) > 0 {
			payload = hex.EncodeToString(message.Data)
		}
		emit("message", name, message.Sequence, redelivered, payload)
	}
	var subscription stan.Subscription
	var err error
	if queue != "" {
		subscription, err = connection.QueueSubscribe(channel, queue, onMessage, options...)
	} else {
		subscription, err = connection.Subscribe(channel, onMessage, options...)
	}
	if err == nil {
		subscriptions[name] = subscription
	}
	return err
}

func ack(name string, sequence uint64) error {
	receivedMutex.Lock()
	message := received[messageKey{name, sequence}]
	receivedMutex.Unlock()
	return message.Ack()
}

func obey(line string) error {
	words := strings.Split(line, " ")
	switch words[0] {
	case "connect":
		return connect(words[1], words[2], words[3], words[4], words[5])
	case "publish":
		return connection.Publish(words[1], unhex(words[2]))
	case "publish_async":
		return publishAsync(words[1], number(words[2]), unhex(words[3]))
	case "subscribe":
		return subscribe(words[1], words[2], words[3:])
	case "ack":
		return ack(words[1], uint64(number(words[2])))
	case "unsubscribe":
		return subscriptions[words[1]].Unsubscribe()
	case "close_subscription":
		return subscriptions[words[1]].Close()
	case "close":
		return connection.Close()
	}
	return fmt.Errorf("no command %s", line)
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if err := obey(strings.TrimSuffix(line, "\n")); err != nil {
			emit("error", strings.Join(strings.Fields(err.Error()), " "))
		} else {
			emit("ok")
		}
	}
}
