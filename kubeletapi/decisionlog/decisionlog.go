// Package decisionlog writes what became of each request into a file, as one
// line of JSON: the fields of [kubeletapi.Event].
package decisionlog

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"kubeletauth/kubeletapi"
)

// Config says where the log goes.
type Config struct {
	// Path is a file, which is made with mode 0600 unless it exists, and appended
	// to. "-" is the standard output.
	Path string

	// Blocking makes requests wait where the file is too slow, in place of leaving
	// their lines out.
	Blocking bool

	// Queue is how many lines may wait; zero and less is 8,192.
	Queue int

	// Logger is told when the file cannot be written, once a minute until it can. Nil
	// is slog.Default().
	Logger *slog.Logger
}

// Log is a decision log. It writes off the path of requests, and is safe for
// concurrent use. Make one with [Open].
type Log struct {
	path     string
	blocking bool
	logger   *slog.Logger
	queue    chan kubeletapi.Event
	reopen   chan chan error
	closing  context.Context // ended by Close
	close    context.CancelFunc
	done     chan struct{} // closed when all is written
}

// Open opens the file and begins to write. The error names the file.
func Open(c Config) (*Log, error) {
	l := &Log{path: c.Path, blocking: c.Blocking, logger: cmp.Or(c.Logger, slog.Default()), queue: make(chan kubeletapi.Event, cmp.Or(max(c.Queue, 0), 8192)), reopen: make(chan chan error), done: make(chan struct{})}
	l.closing, l.close = context.WithCancel(context.Background())
	file, err := l.open()
	if err != nil {
		return nil, err
	}
	go l.run(file)
	return l, nil
}

// LogEvent hands an event over to be written. It returns false if there is no
// room for it and the log is not blocking, and after Close.
func (l *Log) LogEvent(e kubeletapi.Event) bool {
	if l.closing.Err() != nil {
		return false
	}
	select {
	case l.queue <- e:
		return true
	default:
	}
	if !l.blocking {
		return false
	}
	select {
	case l.queue <- e:
		return true
	case <-l.closing.Done():
		return false
	}
}

// Reopen closes the file and opens it again by its name, as is done after it was
// renamed. If that fails, the old one stays in use. After Close it is [os.ErrClosed].
func (l *Log) Reopen() error {
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.done:
		return os.ErrClosed
	}
}

// Close writes what is waiting, and closes the file. It waits 5 seconds at most:
// what a file does not take until then is lost. It may be called again.
func (l *Log) Close() {
	l.close()
	select {
	case <-l.done:
	case <-time.After(5 * time.Second):
		l.logger.Error("Lines are missing in the decision log: it cannot be written fast enough", "file", l.path)
	}
}

func (l *Log) open() (io.WriteCloser, error) {
	if l.path == "-" {
		return keepOpen{os.Stdout}, nil
	}
	// Not blocking, so that a FIFO without a reader is an error and no wait.
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	return file, nil
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// run writes until the log is closed and the queue empty.
func (l *Log) run(file io.WriteCloser) {
	defer close(l.done)
	out := &writer{Log: l, file: file, buffer: bufio.NewWriterSize(file, 64<<10)}
	defer out.close()
	for {
		select {
		case e := <-l.queue:
			out.write(e)
			if len(l.queue) == 0 {
				out.flush()
			}
		case answer := <-l.reopen:
			answer <- out.reopen()
		case <-l.closing.Done():
			for len(l.queue) > 0 {
				out.write(<-l.queue)
			}
			return
		}
	}
}

// writer is the file that lines go to at present.
type writer struct {
	*Log
	file   io.WriteCloser
	buffer *bufio.Writer
	failed time.Time // when the last failure was logged, until a flush succeeds
}

func (w *writer) write(e kubeletapi.Event) {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.buffer.Write(append(line, '\n'))
	}
	w.report(err)
}

func (w *writer) flush() {
	if w.buffer.Buffered() == 0 {
		return
	}
	err := w.buffer.Flush()
	if err == nil {
		w.failed = time.Time{}
	}
	w.report(err)
}

// report tells of a failure, once a minute, and starts anew with what comes next.
func (w *writer) report(err error) {
	if err == nil {
		return
	}
	if time.Since(w.failed) > time.Minute {
		w.failed = time.Now()
		w.logger.Error("Lines are missing in the decision log: it cannot be written", "file", w.path, "err", err)
	}
	w.buffer.Reset(w.file) // a bufio.Writer refuses everything after an error
}

func (w *writer) reopen() error {
	file, err := w.open()
	if err != nil {
		return err
	}
	w.flush()
	w.file.Close()
	w.file = file
	w.buffer.Reset(file)
	return nil
}

func (w *writer) close() {
	w.flush()
	w.file.Close()
}
