package secrets

import (
	"crypto/sha256"
	"sync"
)

// plain is what a file decrypts to. Nobody writes to it.
type plain struct {
	content []byte
	secrets []string
}

// maxCache is how many bytes of plaintext a keyring remembers. A render opens
// and stats the same few files several times; a decryption takes a millisecond.
const maxCache = 4 << 20

// cache remembers what was decrypted, in memory. When it is full it forgets all.
type cache struct {
	mu    sync.Mutex // guards the fields below
	plain map[cacheKey]*plain
	size  int
}

type cacheKey struct {
	format format
	sum    [sha256.Size]byte
}

func (c *cache) get(k cacheKey) *plain {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plain[k]
}

func (c *cache) put(k cacheKey, p *plain) {
	size := len(p.content)
	for _, s := range p.secrets {
		size += len(s)
	}
	if size > maxCache {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plain == nil || c.size+size > maxCache {
		c.plain, c.size = make(map[cacheKey]*plain), 0
	}
	if c.plain[k] == nil {
		c.plain[k] = p
		c.size += size
	}
}
