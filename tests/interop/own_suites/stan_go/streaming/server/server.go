// Package server stands in for the package of this name that stan.go's own tests import. There it runs a streaming server
// within the test process; here each server is a process of the executable `nats-streaming-server` that comes first on PATH.
// It offers what those tests use and no more.
package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyWait    = 20 * time.Second
	shutdownWait = 10 * time.Second
	clientPort   = "4222"
)

// ErrDupDurable has the text a server answers a second active subscription of one durable name with.
var ErrDupDurable = errors.New("stan: duplicate durable registration")

// Options are those the tests set.
type Options struct {
	ID            string
	NATSServerURL string
	MaxChannels   int
}

// StanServer is one process.
type StanServer struct {
	process *exec.Cmd
	ended   chan struct{}
	once    sync.Once
}

// GetDefaultOptions returns options that leave everything to the executable's defaults.
func GetDefaultOptions() *Options {
	return &Options{}
}

// RunServer starts a server with an embedded NATS server.
func RunServer(ID string) (*StanServer, error) {
	return RunServerWithOpts(&Options{ID: ID}, nil)
}

// RunServerWithOpts starts a server and returns when it says that it is ready. The tests never pass NATS options.
func RunServerWithOpts(options *Options, natsOptions interface{}) (*StanServer, error) {
	arguments := []string{}
	if options.ID != "" {
		arguments = append(arguments, "-cid", options.ID)
	}
	if options.NATSServerURL != "" {
		arguments = append(arguments, "-ns", options.NATSServerURL)
	} else {
		arguments = append(arguments, "-a", "127.0.0.1", "-p", clientPort)
	}
	if options.MaxChannels != 0 {
		arguments = append(arguments, "-mc", strconv.Itoa(options.MaxChannels))
	}
	process := exec.Command("nats-streaming-server", arguments...)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	process.Stdout, process.Stderr = writer, writer
	err = process.Start()
	writer.Close()
	if err != nil {
		return nil, err
	}
	server := &StanServer{process: process, ended: make(chan struct{})}
	ready := make(chan struct{})
	log := &logKeeper{}
	go log.keep(reader, ready)
	go func() {
		process.Wait()
		close(server.ended)
	}()
	select {
	case <-ready:
		return server, nil
	case <-server.ended:
		return nil, fmt.Errorf("nats-streaming-server %v ended before it was ready:\n%s", arguments, log)
	case <-time.After(readyWait):
		server.Shutdown()
		return nil, fmt.Errorf("nats-streaming-server %v was not ready in %v:\n%s", arguments, readyWait, log)
	}
}

// Shutdown ends the process and returns when it is gone. It may be called again.
func (s *StanServer) Shutdown() {
	s.once.Do(func() {
		s.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(shutdownWait):
			fmt.Fprintln(os.Stderr, "nats-streaming-server did not end on SIGTERM")
			s.process.Process.Kill()
			<-s.ended
		}
	})
}

// logKeeper reads what the process writes, to the end, so that it is never blocked.
type logKeeper struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (l *logKeeper) keep(from io.ReadCloser, ready chan<- struct{}) {
	defer from.Close()
	told := false
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		l.mutex.Lock()
		l.text.WriteString(line)
		l.mutex.Unlock()
		if !told && strings.Contains(line, "Streaming Server is ready") {
			told = true
			close(ready)
		}
		if err != nil {
			return
		}
	}
}

func (l *logKeeper) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}
