package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Process is a program that runs beside the test, with its output in a file.
//
// It ends with Kill, and otherwise with the test process itself: the kernel kills it when the test process is
// gone, also when that one was killed, panicked or ran into the test's time limit.
type Process struct {
	// LogFile holds what the program wrote to its standard output and error.
	LogFile string

	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended; err is set before
	err  error
}

// StartProcess starts cmd with its output in logFile. Unless cmd says otherwise it sees little of the
// environment, see [Environment].
func StartProcess(cmd *exec.Cmd, logFile string) (*Process, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.Env == nil {
		cmd.Env = Environment(filepath.Dir(logFile))
	}
	endWithThread(cmd, syscall.SIGKILL)
	p := &Process{LogFile: logFile, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// endWithThread makes the program a process group of its own, and has the kernel send it a signal when the thread that
// starts it ends. The thread, not the process: who starts the program keeps the thread with runtime.LockOSThread
// for as long as the program runs.
func endWithThread(cmd *exec.Cmd, signal syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = signal
}

// run starts the program and waits for its end.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// RunFor starts cmd for the length of a test, with its output in name.log in the test's folder.
// When the test has failed, the end of that file is shown.
func RunFor(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := StartProcess(cmd, filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the end of %s.log:\n%s", name, p.LogTail(40))
		}
	})
	return p
}

// Environment is what a program sees of the environment: where programs are found, and folder as home and for
// temporary files. There is no KUBECONFIG in it and no proxy, so nothing leaves this machine.
func Environment(folder string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "TMPDIR=" + folder}
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program ended, as exec.Cmd.Wait says it. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the program alone.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the program and its children at once, and waits until it is gone.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		syscall.Kill(-p.Pid(), syscall.SIGKILL)
		<-p.done
	}
}

// LogTail returns the last lines of the log file.
func (p *Process) LogTail(lines int) string {
	content, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Await repeats check until it returns nil. It gives up, with the end of the log, when the program ends or ctx is done.
func (p *Process) Await(ctx context.Context, check func(context.Context) error) error {
	if err := poll(ctx, p.done, check); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.LogFile), err, p.LogTail(40))
	}
	return nil
}
