package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
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
	args = withDashes(args)
	o = flagDefaults()
	file, dir, err := o.parse(args)
	if err == nil {
		err = o.check()
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return o, nil, err
	case err != nil:
		return o, nil, &UsageError{fmt.Errorf("%w (-h lists the flags)", err)}
	case file == "" && dir == "":
		return o, nil, nil
	}
	o = flagDefaults()
	if file != "" {
		o = fileDefaults()
	}
	if ignored, err = o.loadFiles(file, dir); err != nil {
		return o, nil, err
	}
	if _, _, err = o.parse(args); err == nil {
		err = o.check()
	}
	if err != nil { // the flags alone were good
		err = fmt.Errorf("%s: %w (-h says which field means the same as a flag)", strings.TrimSpace(file+" "+dir), err)
	}
	return o, ignored, err
}

// parse lays the flags that are given over o.
func (o *Options) parse(args []string) (file, dir string, err error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.settings().Register(flags)
	if err := flags.Parse(args); err != nil {
		return "", "", err
	}
	if flags.NArg() > 0 {
		return "", "", fmt.Errorf("unexpected argument %q: on and off are given as --name=true and --name=false, and a subcommand comes before all flags", flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) { // not the defaults without a file, for an empty variable in a script
		if strings.HasPrefix(f.Name, "config") && f.Value.String() == "" {
			err = fmt.Errorf("--%s is given and empty: name a file or folder, or leave it out", f.Name)
		}
	})
	return flags.Lookup("config").Value.String(), flags.Lookup("config-dir").Value.String(), err
}

// withDashes writes the names of flags with dashes, as the kubelet takes them
// either way (WordSepNormalizeFunc of k8s.io/component-base cli/flag).
func withDashes(args []string) []string {
	var list []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			name, value, given := strings.Cut(arg, "=")
			if arg = strings.ReplaceAll(name, "_", "-"); given {
				arg += "=" + value
			}
		}
		list = append(list, arg)
	}
	return list
}

// Print writes the flags by group, each with its default without a
// configuration file and with the field of the file that means the same.
func Print(w io.Writer) {
	o := flagDefaults()
	o.settings().Print(w)
}
