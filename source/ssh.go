package source

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// dialSSH connects, checks the server's key and runs git-upload-pack there. The
// connection is cut when ctx ends, in the handshake too.
func (m *mirror) dialSSH(ctx context.Context) (session, error) {
	signer, err := parseKey(m.remote.SSHKey)
	if err != nil {
		return nil, err
	}
	hosts, err := parseKnown(m.remote.Known)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.address.host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, err := handshake(conn, m.address, signer, hosts)
	if err != nil {
		stop()
		_ = conn.Close() // the handshake's error says why
		return nil, err
	}
	s, err := startSSH(client, "git-upload-pack "+quote(m.address.path))
	if err != nil {
		stop()
		_ = client.Close()
		return nil, err
	}
	s.stop = func() { stop(); _ = client.Close() }
	return s, nil
}

func parseKey(pem []byte) (ssh.Signer, error) {
	if len(pem) == 0 {
		return nil, faultf(CauseAuth, "give ssh_key_file", "ssh needs a private key")
	}
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, faultf(CauseAuth, "give a key without one, readable by skep alone", "the ssh key has a passphrase")
	case err != nil:
		return nil, faultf(CauseAuth, "give a private key as ssh-keygen writes it", "the ssh key does not parse")
	}
	return signer, nil
}

func handshake(conn net.Conn, a address, signer ssh.Signer, hosts knownHosts) (*ssh.Client, error) {
	user := a.user
	if user == "" {
		user = "git"
	}
	algorithms := hosts.algorithms(a.host)
	if len(algorithms) == 0 {
		return nil, errUnknownHost(a.host)
	}
	var refused error
	c, chans, reqs, err := ssh.NewClientConn(conn, a.host, &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			refused = hosts.check(a.host, key)
			return refused
		},
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, chans, reqs), nil
}

func startSSH(client *ssh.Client, command string) (*stream, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	said := &head{max: 4 << 10}
	session.Stderr = said
	if err := session.Start(command); err != nil {
		return nil, err
	}
	return &stream{in: in, out: out, said: said, wait: session.Wait}, nil
}

// quote makes one word of s for a shell, as git does.
func quote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}
