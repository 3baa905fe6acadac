package stack

import (
	"github.com/compose-spec/compose-go/v2/types"
)

// model is one stack as it was loaded: what load gives and convert takes.
type model struct {
	def     Definition
	project *types.Project // variables in, files read, overlays and includes merged; env_file is part of Environment, label_file of Labels
	dict    map[string]any // the canonical map that project was decoded from, for what types.Project loses

	// content is what secrets.*.file, configs.*.file, content: and environment:
	// came to, under "secrets.KEY" and "configs.KEY". External objects, and
	// secrets with a driver, have none.
	content map[string]content

	// literal says which objects carry a `name:` of their own, under
	// "networks.KEY", "volumes.KEY", "secrets.KEY", "configs.KEY".
	literal map[string]bool

	at       func(path string) Position // of a compose path such as services.web.image, or of its nearest known parent
	wishes   Wishes
	taint    Taint
	findings []Finding
}

// content is the bytes of a secret or config, and whether they came from an encrypted file.
type content struct {
	data    []byte
	tainted bool
}
