package deploy

import (
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
)

func TestContentTellsApartWhatCannotChange(t *testing.T) {
	t.Parallel()
	key := Key("0123456789abcdef0123456789abcdef")
	contents := map[string]string{
		"data":              key.content([]byte("data"), nil, nil),
		"other data":        key.content([]byte("other"), nil, nil),
		"no data":           key.content(nil, nil, nil),
		"other key":         Key("x").content([]byte("data"), nil, nil),
		"template":          key.content([]byte("data"), &swarm.Driver{Name: "golang"}, nil),
		"driver":            key.content([]byte("data"), nil, &swarm.Driver{Name: "golang"}),
		"option":            key.content([]byte("data"), nil, &swarm.Driver{Name: "golang", Options: map[string]string{"a": "b"}}),
		"option cut before": key.content([]byte("data"), nil, &swarm.Driver{Name: "golang", Options: map[string]string{"ab": ""}}),
	}
	seen := map[string]string{}
	for name, c := range contents {
		if len(c) != 64 {
			t.Errorf("%s: content %q has %d digits, want 64", name, c, len(c))
		}
		if other := seen[c]; other != "" {
			t.Errorf("%s and %s have one content", name, other)
		}
		seen[c] = name
	}
	if key.content([]byte("data"), &swarm.Driver{}, nil) != contents["data"] {
		t.Error("an empty driver is not no driver")
	}
}

func FuzzContentName(f *testing.F) {
	f.Add("shop", "password", "x")
	f.Add(strings.Repeat("s", 41), strings.Repeat("k", 64), "data")
	f.Add("a", "b_0123456789", "")
	object := regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)
	stackName := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,40}$`)
	keyName := regexp.MustCompile(`^[a-zA-Z0-9._-]{1,100}$`)
	f.Fuzz(func(t *testing.T, stack, key, data string) {
		if !stackName.MatchString(stack) || !keyName.MatchString(key) {
			return
		}
		content := Key("k").content([]byte(data), nil, nil)
		name := contentName(stack, key, content)
		if len(name) > 64 || !object.MatchString(name) {
			t.Errorf("%q (%d) is no name for an object", name, len(name))
		}
		if !strings.HasSuffix(name, "_"+content[:10]) {
			t.Errorf("%q does not end in the content's HMAC", name)
		}
		if !named(name, stack, key) {
			t.Errorf("%q is not known as a name of %q in %q", name, key, stack)
		}
	})
}

func TestNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, key string
		want      bool
	}{
		{"shop_db", "db", true},
		{"shop_db_0123456789", "db", true},
		{"shop_db_012345678", "db", false},
		{"shop_db_012345678g", "db", false},
		{"shop_db_x_0123456789", "db", false},
		{"shop_db_x_0123456789", "db_x", true},
		{"other_db", "db", false},
	} {
		if got := named(c.name, "shop", c.key); got != c.want {
			t.Errorf("named(%q, shop, %q) = %v, want %v", c.name, c.key, got, c.want)
		}
	}
}
