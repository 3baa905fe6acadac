package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Alertmanager is a real one, with a folder of its own.
type Alertmanager struct {
	URL string

	dir, addr string
	cmd       *exec.Cmd
}

const alertmanagerConfig = "route: {receiver: none, group_wait: 1s, group_interval: 1s}\nreceivers: [{name: none}]\n"

// NewAlertmanager starts one on addr (host:0 picks a port) and waits until it is ready.
func NewAlertmanager(dir, addr string) (*Alertmanager, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	a := &Alertmanager{dir: dir, addr: l.Addr().String()}
	a.URL = "http://" + a.addr
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, "alertmanager.yml"), []byte(alertmanagerConfig), 0o644); err != nil {
		return nil, err
	}
	return a, a.Start()
}

// Start runs it on the same address as before.
func (a *Alertmanager) Start() error {
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		return fmt.Errorf("no Alertmanager (Debian: apt-get install prometheus-alertmanager): %w", err)
	}
	log, err := os.Create(filepath.Join(a.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd = exec.Command(path, "--config.file", filepath.Join(a.dir, "alertmanager.yml"), "--storage.path", a.dir,
		"--web.listen-address", a.addr, "--cluster.listen-address", "")
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return err
	}
	return Poll(context.Background(), time.Minute, func() (bool, string) {
		resp, err := http.Get(a.URL + "/-/ready")
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
}

// Pid is the process, for whoever wants it to outlive this one.
func (a *Alertmanager) Pid() int { return a.cmd.Process.Pid }

// Stop kills it; what it was told is in its folder or lost.
func (a *Alertmanager) Stop() {
	if a.cmd == nil {
		return
	}
	a.cmd.Process.Kill()
	a.cmd.Wait()
	a.cmd = nil
}

// alertmanagerFiles is what the Alertmanager of Debian reads beside its libraries.
const alertmanagerFiles = "/usr/share/prometheus/alertmanager"

// AlertmanagerImage builds an image of the machine's Alertmanager, with the
// libraries that it is linked to. It listens on port 9093.
func (l *Lab) AlertmanagerImage(ctx context.Context, tag string) error {
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		return fmt.Errorf("no Alertmanager (Debian: apt-get install prometheus-alertmanager): %w", err)
	}
	files, err := libraries(ctx, path)
	if err != nil {
		return err
	}
	templates, err := filepath.Glob(alertmanagerFiles + "/*.tmpl")
	if err != nil {
		return err
	}
	entries := []entry{
		{"Dockerfile", 0o644, []byte("FROM scratch\nCOPY root /\nENTRYPOINT [\"" + path + "\", \"--config.file\", \"/alertmanager.yml\", \"--storage.path\", \"/data\", \"--cluster.listen-address\", \"\"]\n")},
		{"root/alertmanager.yml", 0o644, []byte(alertmanagerConfig)},
		{"root/data/", 0o755, nil},
	}
	for _, f := range append(append(files, path), templates...) {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		entries = append(entries, entry{"root" + f, 0o755, b})
	}
	return l.build(ctx, tag, entries)
}

// libraries are the files that a program is linked to, its loader included.
func libraries(ctx context.Context, path string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", path, err)
	}
	var files []string
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, "/") {
			files = append(files, f)
		}
	}
	return files, nil
}

// Alert is one alert as Alertmanager's API tells it.
type Alert struct {
	Labels, Annotations map[string]string
	Fingerprint         string
	StartsAt            time.Time
}

// Alerts are those that fire for one cluster, by the API of the Alertmanager at url.
func Alerts(ctx context.Context, url, cluster string) ([]Alert, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v2/alerts?active=true&filter=cluster%3D%22"+cluster+"%22", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var list []Alert
	return list, json.NewDecoder(resp.Body).Decode(&list)
}

// Firing is Alerts without the watchdog, which always fires.
func Firing(ctx context.Context, url, cluster string) ([]Alert, error) {
	all, err := Alerts(ctx, url, cluster)
	return slices.DeleteFunc(all, func(a Alert) bool { return a.Labels["alertname"] == "SkepWatchdog" }), err
}
