package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"k8s.io/client-go/tools/remotecommand"
	streaming "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// execOnTerminal runs a command on a terminal of its own, which is as large as the client's is.
func execOnTerminal(cmd *exec.Cmd, in io.Reader, out io.Writer, sizes <-chan streaming.TerminalSize) error {
	terminal, inside, err := openTerminal()
	if err != nil {
		return err
	}
	defer terminal.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inside, inside, inside
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	inside.Close()
	if err != nil {
		return err
	}
	go io.Copy(terminal, in)
	go func() {
		for size := range sizes {
			rows := [4]uint16{size.Height, size.Width}
			ioctl(terminal, syscall.TIOCSWINSZ, unsafe.Pointer(&rows))
		}
	}()
	io.Copy(out, terminal) // ends with an error when nobody has the terminal any more
	return cmd.Wait()
}

// openTerminal makes a terminal and opens both of its sides.
func openTerminal() (outside, inside *os.File, err error) {
	if outside, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	var number, locked uint32
	if err = errors.Join(ioctl(outside, syscall.TIOCSPTLCK, unsafe.Pointer(&locked)), ioctl(outside, syscall.TIOCGPTN, unsafe.Pointer(&number))); err == nil {
		inside, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		outside.Close()
	}
	return outside, inside, err
}

func ioctl(file *os.File, request uintptr, argument unsafe.Pointer) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) { _, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(argument)) })
	if errno != 0 {
		return errno
	}
	return err
}

// terminalSizes are the sizes that a client's terminal takes, one after the other.
type terminalSizes chan remotecommand.TerminalSize

func (s terminalSizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

// execTerminal shows a command on a terminal: it echoes, learns of each new size, and reads the end of its input from a
// control character.
func execTerminal(t *testing.T, s *upstreamServer, service *execService, way string) {
	stdin, toStdin := io.Pipe()
	fromStdout, stdout := io.Pipe()
	sizes, done := make(terminalSizes), make(chan error, 1)
	go func() {
		defer stdout.Close()
		defer stdin.Close()
		options := remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Tty: true, TerminalSizeQueue: sizes}
		done <- execRun(t, s, s.token, way, options, "sh", "-c", "test -t 0 && test -t 1 && test -t 2 || exit 9; while read x; do stty size; done; exit 5")
	}()
	defer close(sizes)
	lines := bufio.NewReader(fromStdout)
	for _, size := range []remotecommand.TerminalSize{{Width: 80, Height: 24}, {Width: 132, Height: 50}, {Width: 1, Height: 1}} {
		select {
		case sizes <- size:
		case err := <-done:
			t.Fatal("the command ended with", err)
		}
		want := fmt.Sprintf("%d %d\r\n", size.Height, size.Width)
		for end, got := time.Now().Add(30*time.Second), ""; got != want; { // it may be told later than what is typed
			if time.Now().After(end) {
				t.Fatalf("the terminal is %q, want %q", got, want)
			}
			if _, err := io.WriteString(toStdin, "x\n"); err != nil {
				t.Fatal(err)
			}
			echo, err := lines.ReadString('\n')
			if got, _ = lines.ReadString('\n'); strings.TrimSpace(echo) != "x" || err != nil {
				t.Fatalf("the terminal echoes %q, %v", echo, err)
			}
		}
	}
	io.WriteString(toStdin, "\x04") // as Ctrl-D
	go io.Copy(io.Discard, lines)
	if exit := utilexec.ExitError(nil); !errors.As(upstreamTake(t, done), &exit) || exit.ExitStatus() != 5 {
		t.Errorf("the command ended with %v", exit)
	}
	toStdin.Close()
	execExpectSeen(t, s, service, execMethods[way], way)
}
