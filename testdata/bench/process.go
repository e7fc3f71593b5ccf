package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server that runs beside this program, and ends with it.
type process struct {
	name, address string
	log           string // file
	began         time.Time
	cmd           *exec.Cmd
	ended         chan struct{}
}

// start starts a server at a free port and returns once it takes connections. The
// program has flags for where to listen. What it has to say is in the file log.
func start(name, log, program string, flags ...string) *process {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	p := &process{name: name, log: log, address: listener.Addr().String(), ended: make(chan struct{})}
	check(listener.Close())
	port := listener.Addr().(*net.TCPAddr).Port
	p.cmd = exec.Command(program, append(flags, "--address=127.0.0.1", "--port="+strconv.Itoa(port))...)
	p.cmd.Env = []string{} // no proxy, no home
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr := must(os.Create(log))
	defer stderr.Close()
	p.cmd.Stderr = stderr
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal comes when the thread that started it ends
		defer close(p.ended)
		p.began = time.Now()
		started <- p.cmd.Start()
		p.cmd.Wait()
	}()
	check(<-started)
	for {
		if conn, err := net.Dial("tcp", p.address); err == nil {
			check(conn.Close())
			return p
		}
		select {
		case <-p.ended:
			panic(name + " ended: " + string(must(os.ReadFile(log))))
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func (p *process) stop() {
	p.cmd.Process.Kill()
	<-p.ended
}

// cpu is the time that the process has spent on processors, to the nanosecond: of
// the clock that clock_getcpuclockid(3) names.
func (p *process) cpu() time.Duration {
	const schedulerClock = 2
	var now unix.Timespec
	check(unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|schedulerClock), &now))
	return time.Duration(now.Nano())
}

// status is a field of /proc that is in kB there, in bytes.
func (p *process) status(field string) float64 {
	status := must(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))
	kb := regexp.MustCompile(field + `:\s*(\d+) kB`).FindSubmatch(status)
	return must(strconv.ParseFloat(string(kb[1]), 64)) * 1024
}
