package deploy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// Limits of the names of secrets and configs, and how much of the content's HMAC
// they show.
const (
	maxName    = 64
	hashDigits = 10
)

// offlineHash stands for the content's HMAC where there is no key.
const offlineHash = "0000000000"

// content is the full HMAC of what can't be changed in a secret or config: data,
// template driver, driver.
func (k Key) content(data []byte, templating, driver *swarm.Driver) string {
	h := hmac.New(sha256.New, k)
	field(h, data)
	driverField(h, templating)
	driverField(h, driver)
	return hex.EncodeToString(h.Sum(nil))
}

// field writes a value and its length, so that no two lists of values are alike.
func field(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

func driverField(h hash.Hash, d *swarm.Driver) {
	if normalDriver(cloneDriver(d)) == nil {
		field(h, nil)
		return
	}
	field(h, []byte{1})
	field(h, []byte(d.Name))
	for _, k := range slices.Sorted(maps.Keys(d.Options)) {
		field(h, []byte(k))
		field(h, []byte(d.Options[k]))
	}
}

// contentName is the name of a secret or config in the swarm: stack, key and the
// beginning of its content's HMAC. A long key is cut, the HMAC never.
func contentName(stack, key, content string) string {
	return contentBase(stack, key) + "_" + content[:hashDigits]
}

func contentBase(stack, key string) string {
	base := stack + "_" + key
	if n := maxName - 1 - hashDigits; len(base) > n {
		base = base[:n]
	}
	return base
}

// named says whether a name is one that the key's object has or had: with some
// HMAC at its end, or, from docker stack deploy, with none.
func named(name, stack, key string) bool {
	if name == stack+"_"+key {
		return true
	}
	rest, ok := strings.CutPrefix(name, contentBase(stack, key)+"_")
	return ok && len(rest) == hashDigits && strings.Trim(rest, "0123456789abcdef") == ""
}

// driverEqual says whether two drivers are the same to Swarm.
func driverEqual(a, b *swarm.Driver) bool {
	a, b = normalDriver(cloneDriver(a)), normalDriver(cloneDriver(b))
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && maps.Equal(a.Options, b.Options)
}
