// Command app is the container that the tests and the demo run: a tiny static
// program that serves, crashes, stays unhealthy, starts slowly or does a job, as
// its first argument says.
//
//	app serve            serve GET / on $PORT (default 8080) until SIGTERM
//	app slow DURATION    serve, healthy only after DURATION
//	app unhealthy        serve, never healthy
//	app crash [DURATION] exit 3 after DURATION (default: at once)
//	app job [DURATION]   exit 0 after DURATION
//	app fail [DURATION]  exit 1 after DURATION
//	app health           exit 0 if the server in this container says healthy
//	app secret NAME      print the SHA-256 of /run/secrets/NAME, so that a secret
//	                     can be told without being seen
//
// GET / answers with the version ($VERSION).
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	if args[0] == "secret" && len(args) == 2 {
		return secret(args[1])
	}
	d, err := duration(args[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(0)
	case "slow":
		return serve(d)
	case "unhealthy":
		return serve(1000 * time.Hour)
	case "crash":
		exit(d, 3)
	case "job":
		exit(d, 0)
	case "fail":
		exit(d, 1)
	case "health":
		return health()
	}
	return fmt.Errorf("no such mode: %s", args[0])
}

func duration(args []string) (time.Duration, error) {
	if len(args) == 0 {
		return 0, nil
	}
	return time.ParseDuration(args[0])
}

func exit(after time.Duration, code int) {
	time.Sleep(after)
	os.Exit(code)
}

func serve(after time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	healthy := time.Now().Add(after)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, os.Getenv("VERSION"))
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(healthy) {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	s := &http.Server{Addr: ":" + port(), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		s.Close()
	}()
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func port() string {
	if p := os.Getenv("PORT"); p != "" {
		return p
	}
	return "8080"
}

func health() error {
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get("http://127.0.0.1:" + port() + "/health")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	return nil
}

func secret(name string) error {
	b, err := os.ReadFile(filepath.Join("/run/secrets", filepath.Base(name)))
	if err != nil {
		return err
	}
	fmt.Printf("%x\n", sha256.Sum256(b))
	return nil
}
