// Command skep keeps a Docker Swarm as git says.
//
// Each verb has a file of its own. The verbs read what they need (skep.yml, a
// folder, a running skep's socket), hand it to the packages that do the work and
// print what comes back; they decide nothing themselves.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the image has no zoneinfo

	"github.com/getsops/sops/v3/logging"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v3"
	_ "golang.org/x/crypto/x509roots/fallback" // used where the system has no certificates: the image
)

// version is set when the binary is linked.
var version = "dev"

// Exit codes that mean the same for every verb.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, hup := signals(os.Args)
	os.Exit(app{out: os.Stdout, err: os.Stderr, getenv: os.Getenv, hup: hup}.main(ctx, os.Args))
}

// signals gives what ends a command line, and what has it read its configuration
// again. Verbs that only read files have nothing to put away: a signal ends them
// at once, as a second one does every verb.
func signals(args []string) (context.Context, <-chan os.Signal) {
	verb := ""
	if len(args) > 1 {
		verb = args[1]
	}
	hup := make(chan os.Signal, 1)
	switch verb {
	case "render", "validate", "config":
		return context.Background(), hup
	case "run":
		signal.Notify(hup, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, hup
}

// app is what the verbs have of the process that they run in.
type app struct {
	out, err io.Writer
	getenv   func(string) string
	hup      <-chan os.Signal // a configuration is to be read again
}

// exitError ends the program with a code; an empty text says nothing more.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// usage is a command line that makes no sense.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Sprintf(format, args...)}
}

// main runs one command line and gives the exit code.
func (a app) main(ctx context.Context, args []string) int {
	silence()
	err := a.root().Run(ctx, args)
	if err == nil {
		return 0
	}
	code := exitFailed
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
	}
	var c *configError
	switch text := err.Error(); {
	case errors.As(err, &c):
		fmt.Fprintln(a.err, c) // each line begins with its file
	case text != "":
		fmt.Fprintf(a.err, "skep: %s\n", text)
	}
	if code == exitUsage {
		fmt.Fprintln(a.err, "skep: see skep help")
	}
	return code
}

// silence keeps libraries that log by themselves from printing a tenant's
// values: what they have to say comes back as errors too.
func silence() {
	logrus.SetOutput(io.Discard)
	for _, l := range logging.Loggers {
		l.SetOutput(io.Discard)
	}
}

// root is the command with all its verbs.
func (a app) root() *cli.Command {
	root := &cli.Command{
		Name:           "skep",
		Usage:          "keeps a Docker Swarm as git says",
		Writer:         a.out,
		ErrWriter:      a.err,
		HideVersion:    true,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Commands: []*cli.Command{
			a.runCommand(),
			a.syncCommand(),
			a.planCommand(),
			a.renderCommand(),
			a.validateCommand(),
			a.configCommand(),
			a.statusCommand(),
			a.healthCommand(),
			a.historyCommand(),
			a.freezeCommand(),
			a.unfreezeCommand(),
			a.rollbackCommand(),
			a.unpinCommand(),
			a.restartCommand(),
			a.pruneCommand(),
			a.versionCommand(),
		},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usage("unknown command %q", c.Args().First())
			}
			return cli.ShowRootCommandHelp(c)
		},
	}
	strict(root)
	return root
}

// strict makes every mistake on the command line a usage error, for the command
// and those below it.
func strict(c *cli.Command) {
	c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error {
		return usage("%s", err)
	}
	for _, sub := range c.Commands {
		sub.HideHelpCommand = true // or the argument help would not be an argument
		strict(sub)
	}
}

// group is a command that only holds others.
func group(name, use string, commands ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: use, Commands: commands, Action: func(_ context.Context, c *cli.Command) error {
		if c.Args().Present() {
			return usage("%s: unknown command %q", name, c.Args().First())
		}
		return usage("%s: which one? see skep %s --help", name, name)
	}}
}

// arguments gives the words of a command line, and a usage error unless there
// are as many as wanted.
func arguments(c *cli.Command, least, most int) ([]string, error) {
	words := c.Args().Slice()
	if len(words) < least || len(words) > most {
		return nil, usage("%s: got %d arguments; usage: %s [options] %s", c.Name, len(words), c.FullName(), c.ArgsUsage)
	}
	return words, nil
}
