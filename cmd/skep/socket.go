package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"go.yaml.in/yaml/v4"
)

// The limits of one question to a running skep.
const (
	askTimeout  = 10 * time.Second
	answerLimit = 64 << 20
)

// defaultSocket is where a skep listens that was not told otherwise.
const defaultSocket = "/run/skep/skep.sock"

// askFlags say which running skep is asked.
func askFlags() []cli.Flag {
	return []cli.Flag{
		configFlag(),
		&cli.StringFlag{Name: "socket", Usage: "ask the skep behind this unix socket (default: that of the configuration)", TakesFile: true},
		&cli.StringFlag{Name: "url", Usage: "ask the skep behind this URL, such as http://host:8080"},
	}
}

// ask gets one path of the API of a running skep, and the status code.
func ask(ctx context.Context, c *cli.Command, path string) ([]byte, int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	base, client, err := endpoint(c)
	if err != nil {
		return nil, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, 0, usage("url: not a URL")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	return body, resp.StatusCode, err
}

// endpoint is the base URL of a running skep and the client that reaches it.
func endpoint(c *cli.Command) (string, *http.Client, error) {
	if base := c.String("url"); base != "" {
		if c.String("socket") != "" {
			return "", nil, usage("only one of --socket and --url")
		}
		return strings.TrimSuffix(base, "/"), &http.Client{}, nil
	}
	socket := socketName(c)
	if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("no skep here: %s is missing; ask where skep runs (docker exec CONTAINER /skep %s), or give --url", socket, c.Name)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return "http://skep", &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, nil
}

// socketName is the one that was asked for, else that of the configuration. What
// else is in a configuration is not the reader's business here: a skep that
// refused it still answers.
func socketName(c *cli.Command) string {
	if s := c.String("socket"); s != "" {
		return s
	}
	name := c.String("config")
	if config, err := readConfig(name); err == nil {
		return config.Socket
	}
	if s := socketLine(name); s != "" {
		return rooted(config{Socket: s}, filepath.Dir(name)).Socket
	}
	return defaultSocket
}

// socketLine is what the line socket: says in a file that may be wrong
// everywhere else; empty where there is none.
func socketLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, configLimit))
	for lines.Scan() {
		var line struct {
			Socket string `yaml:"socket"`
		}
		if strings.HasPrefix(lines.Text(), "socket:") && yaml.Unmarshal(lines.Bytes(), &line) == nil {
			return line.Socket
		}
	}
	return ""
}
