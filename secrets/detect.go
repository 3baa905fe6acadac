package secrets

import (
	"bytes"
	"encoding/json"
	"path"
	"regexp"
	"strings"
)

type format string

const (
	formatYAML   format = "yaml"
	formatJSON   format = "json"
	formatDotenv format = "dotenv"
	formatINI    format = "ini"
	formatBinary format = "binary"
)

// cipherMark is how every value starts that sops encrypted, whatever the format.
const cipherMark = "ENC[AES256_GCM,data:"

// A metadata block as the four formats write it.
var (
	yamlBlock   = regexp.MustCompile(`(?m)^["']?sops["']?[ \t]*:`)
	jsonBlock   = regexp.MustCompile(`"sops"\s*:\s*\{`)
	dotenvBlock = regexp.MustCompile(`(?m)^sops_[a-z]`)
	iniBlock    = regexp.MustCompile(`(?m)^\[sops\]`)
)

// encrypted says whether content looks encrypted by sops, whole or damaged: it
// holds a ciphertext, or a metadata block with a time and someone to read it. A
// plain file that merely has a key called sops is neither. It reads text only,
// because a damaged file need not parse.
func encrypted(content []byte) bool {
	return hasCiphertext(content) || hasMetadata(content)
}

func hasCiphertext(content []byte) bool {
	for {
		_, after, found := bytes.Cut(content, []byte(cipherMark))
		if !found {
			return false
		}
		if len(after) > 0 && isBase64(after[0]) {
			return true
		}
		content = after
	}
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

func hasMetadata(content []byte) bool {
	if !bytes.Contains(content, []byte("lastmodified")) {
		return false
	}
	if !bytes.Contains(content, []byte("BEGIN AGE ENCRYPTED FILE")) && !bytes.Contains(content, []byte("mac")) {
		return false
	}
	return blockFormat(content) != ""
}

// blockFormat is the format in which content holds a metadata block, or empty.
func blockFormat(content []byte) format {
	switch {
	case jsonBlock.Match(content):
		return formatJSON
	case yamlBlock.Match(content):
		return formatYAML
	case dotenvBlock.Match(content):
		return formatDotenv
	case iniBlock.Match(content):
		return formatINI
	}
	return ""
}

// formatOf goes by the file's name, as sops does. Names that sops and people
// read differently (.env.production, SECRETS.YAML) may hold sops' binary
// envelope, which content tells.
func formatOf(name string, content []byte) format {
	f := formatByName(strings.ToLower(path.Base(name)))
	if f != formatJSON && isEnvelope(content) {
		return formatBinary
	}
	return f
}

func formatByName(base string) format {
	switch path.Ext(base) {
	case ".yaml", ".yml":
		return formatYAML
	case ".json":
		return formatJSON
	case ".ini":
		return formatINI
	case ".env":
		return formatDotenv
	}
	if strings.HasPrefix(base, ".env.") {
		return formatDotenv
	}
	return formatBinary
}

// isEnvelope says whether content is a JSON object of exactly data and sops.
func isEnvelope(content []byte) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")) {
		return false
	}
	var m map[string]json.RawMessage
	return json.Unmarshal(content, &m) == nil && len(m) == 2 && m["data"] != nil && m["sops"] != nil
}
