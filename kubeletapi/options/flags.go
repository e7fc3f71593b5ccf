package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// UsageError is a command line that cannot be used.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *UsageError) Unwrap() error { return e.Err }

// Parse returns the configuration that a command line describes, with the
// kubelet's names, defaults and precedence: a flag that is given beats the
// drop-ins in --config-dir, which beat the file in --config. In names of flags,
// underscores equal dashes.
//
// It returns also the fields of the files that are the kubelet's and have no
// meaning here. The error is an [*UsageError] for a mistake in args, with a
// text that says how to mend it, and [flag.ErrHelp] for -h.
func Parse(args []string) (o Options, ignored []string, err error) {
	o, operands, ignored, err := ParseWith(args, func(*flag.FlagSet) {})
	if err == nil && len(operands) > 0 {
		err = &UsageError{fmt.Errorf("unexpected argument %q: on and off are given as --name=true and --name=false, and a subcommand comes before all flags (-h lists the flags)", operands[0])}
	}
	return o, ignored, err
}

// ParseWith is Parse for a command that has flags of its own, which define adds
// to a set, each time that the flags are read, and operands, which may stand
// before, between and after the flags.
func ParseWith(args []string, define func(*flag.FlagSet)) (o Options, operands, ignored []string, err error) {
	args = withDashes(args)
	o = flagDefaults()
	file, dir, operands, err := o.parse(args, define)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return o, nil, nil, err
	case err != nil:
		return o, nil, nil, &UsageError{fmt.Errorf("%w (-h lists the flags)", err)}
	case file == "" && dir == "":
		return o, operands, nil, nil
	}
	o = flagDefaults()
	if file != "" {
		o = fileDefaults()
	}
	if ignored, err = o.loadFiles(file, dir); err != nil {
		return o, nil, nil, err
	}
	if _, _, _, err = o.parse(args, define); err != nil { // the flags alone were good
		err = fmt.Errorf("%s: %w (-h says which field means the same as a flag)", strings.TrimSpace(file+" "+dir), err)
	}
	return o, operands, ignored, err
}

// parse lays the flags that are given over o, and checks what comes of it.
func (o *Options) parse(args []string, define func(*flag.FlagSet)) (file, dir string, operands []string, err error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.settings().Register(flags)
	define(flags)
	for err = flags.Parse(args); err == nil && flags.NArg() > 0; err = flags.Parse(flags.Args()[1:]) {
		operands = append(operands, flags.Arg(0))
	}
	if err != nil {
		return "", "", nil, notDefined(err)
	}
	flags.Visit(func(f *flag.Flag) { // not the defaults without a file, for an empty variable in a script
		if strings.HasPrefix(f.Name, "config") && f.Value.String() == "" {
			err = fmt.Errorf("--%s is given and empty: name a file or folder, or leave it out", f.Name)
		}
	})
	if err == nil {
		err = o.check()
	}
	return flags.Lookup("config").Value.String(), flags.Lookup("config-dir").Value.String(), operands, err
}

// notDefined says of a flag that is the kubelet's why it is not one here.
func notDefined(err error) error {
	name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	field := strings.ReplaceAll(name, "-", "")
	same := func(other string) bool { return strings.EqualFold(other, field) }
	if ok && (slices.ContainsFunc(strings.Fields(otherFields), same) || slices.Contains(strings.Fields(otherFlags), name)) {
		return fmt.Errorf("--%s is a flag of the kubelet that has no meaning here: remove it", name)
	}
	return err
}

// otherFlags are the kubelet's in v1.37.2 (cmd/kubelet/app/options/options.go)
// that have no meaning here, and not the name of one of otherFields.
const otherFlags = `
bootstrap-kubeconfig cloud-provider contention-profiling event-qps exit-on-lock-contention
experimental-allocatable-ignore-eviction experimental-mounter-path global-housekeeping-interval housekeeping-interval
image-credential-provider-bin-dir image-credential-provider-config image-gc-high-threshold image-gc-low-threshold
kube-api-content-type lock-file log-flush-frequency log-json-info-buffer-size log-json-split-stream
log-text-info-buffer-size log-text-split-stream logging-format manifest-url manifest-url-header maximum-dead-containers
maximum-dead-containers-per-container minimum-container-ttl-duration minimum-image-ttl-duration node-ip node-labels
pod-manifest-path pod-max-pids registry-qps reserved-cpus root-dir rotate-server-certificates runtime-cgroups v vmodule
windows-priorityclass windows-service`

// withDashes writes the names of flags with dashes, as the kubelet takes them
// either way (WordSepNormalizeFunc of k8s.io/component-base cli/flag).
func withDashes(args []string) []string {
	list := slices.Clone(args)
	for i, arg := range args {
		if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(arg, "-") {
			list[i] = strings.ReplaceAll(name, "_", "-") + arg[len(name):]
		}
	}
	return list
}

// Print writes the flags by group, each with its default, with the one that it
// has with --config if that differs, and with the field of the file that means
// the same.
func Print(w io.Writer) {
	flags, file := flagDefaults(), fileDefaults()
	flags.settings().Print(w, file.settings())
}
