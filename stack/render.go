package stack

import "io/fs"

func render(fsys fs.FS, def Definition, o Options) (Spec, error) {
	m, err := load(fsys, def, o)
	if err != nil {
		return Spec{}, err
	}
	return convert(m, o)
}
