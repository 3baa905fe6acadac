package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/urfave/cli/v3"
)

func (a app) healthCommand() *cli.Command {
	return &cli.Command{
		Name:        "health",
		Usage:       "tell whether the skep here has its configuration and works",
		Description: "Exit code 0: it does. A tenant that fails or a swarm that cannot be read does not make skep itself unhealthy.",
		Flags:       askFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			body, code, err := ask(ctx, c, "/healthz")
			if err != nil {
				return err
			}
			if code != http.StatusOK {
				return fmt.Errorf("%s", strings.TrimSpace(printable(string(body))))
			}
			_, err = fmt.Fprintln(a.out, "ok")
			return err
		},
	}
}
