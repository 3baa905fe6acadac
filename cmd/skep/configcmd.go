package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/urfave/cli/v3"
)

func (a app) configCommand() *cli.Command {
	return group("config", "check a skep.yml, or print its schema", a.configCheckCommand(), a.configSchemaCommand())
}

func (a app) configCheckCommand() *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "tell what is wrong with a skep.yml, and with the files that it names",
		ArgsUsage:   "FILE",
		Description: "Exit code 0: nothing; 1: something.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "no-files", Usage: "do not look at the files that it names, which may be on another machine"}},
		Action: func(_ context.Context, c *cli.Command) error {
			words, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			conf, err := readConfig(words[0])
			if err != nil {
				return err
			}
			if !c.Bool("no-files") {
				if err := checkFiles(conf); err != nil {
					return err
				}
			}
			if _, err := fmt.Fprintf(a.out, "%s: ok, %d tenants\n", words[0], len(conf.Tenants)); err != nil {
				return err
			}
			return nil
		},
	}
}

// checkFiles opens every file that c names; the error has a line for each that
// cannot be read.
func checkFiles(c config) error {
	var errs []error
	for i, a := range c.Alertmanagers {
		errs = append(errs, filesOf(reflect.ValueOf(a), fmt.Sprintf("alertmanagers[%d]", i)))
	}
	for _, t := range c.Tenants {
		errs = append(errs, filesOf(reflect.ValueOf(t), "tenant "+t.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := operatorConfig(c, nil)
	return err
}

// filesOf looks at the fields with a file tag, in v and below it.
func filesOf(v reflect.Value, at string) error {
	var errs []error
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			errs = append(errs, filesOf(v.Index(i), fmt.Sprintf("%s[%d]", at, i)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			key := at + ": " + keyOf(field)
			if field.Tag.Get("file") == "" {
				errs = append(errs, filesOf(v.Field(i), key))
			} else if name := v.Field(i).String(); name != "" {
				errs = append(errs, readable(key, name))
			}
		}
	}
	return errors.Join(errs...)
}

func readable(key, name string) error {
	data, err := os.ReadFile(name)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", key, err)
	case len(data) == 0:
		return fmt.Errorf("%s: %s is empty", key, name)
	}
	return nil
}

func (a app) configSchemaCommand() *cli.Command {
	return &cli.Command{
		Name:  "schema",
		Usage: "print the JSON schema of skep.yml, for editors",
		Action: func(_ context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			s, err := schema()
			if err != nil {
				return err
			}
			return printJSON(a.out, s)
		},
	}
}
