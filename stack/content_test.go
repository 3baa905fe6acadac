package stack

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestPointersAreNotDeployed: a Git LFS pointer stands for a file that is elsewhere.
func TestPointersAreNotDeployed(t *testing.T) {
	t.Parallel()
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
	for _, kind := range []string{"configs", "secrets"} {
		fsys := fstest.MapFS{
			"s/stack.yml": {Data: []byte("services: {web: {image: a}}\n" + kind + ":\n  c:\n    file: data.bin\n")},
			"s/data.bin":  {Data: []byte(pointer)},
		}
		_, err := Render(fsys, Definition{Tenant: "t", Name: "t-s", Dir: "s", Files: []string{"s/stack.yml"}}, Options{})
		if err == nil || !strings.Contains(err.Error(), "s/stack.yml:4: "+kind+".c: s/data.bin: is a Git LFS pointer") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
