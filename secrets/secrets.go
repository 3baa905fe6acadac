// Package secrets is a lens over files: sops-encrypted ones read as plaintext,
// in memory, with one tenant's age keys only.
//
// It never writes a file, never reads the process environment, never runs a
// program, never calls a key service over the network, and puts no value in an
// error. A file that looks encrypted is decrypted or refused: ciphertext never
// passes for content.
//
// sops stays behind this one package. It logs to standard error through loggers
// of its own; FS silences them, for the whole process.
package secrets

import (
	"fmt"
	"strings"
)

// DecryptError is a file that could not be decrypted. It holds no value.
type DecryptError struct {
	File       string
	Recipients []string // whom the file is encrypted for
	Held       []string // the recipients of the tenant's own keys
	Text       string   // what is wrong, and what to do next
}

// Error names the file, its recipients and what the tenant holds.
func (e *DecryptError) Error() string {
	return fmt.Sprintf("%s: %s (encrypted for %s; this tenant holds %s)", e.File, e.Text, list(e.Recipients, "nobody known"), list(e.Held, "no age key"))
}

func list(s []string, none string) string {
	if len(s) == 0 {
		return none
	}
	return strings.Join(s, ", ")
}
