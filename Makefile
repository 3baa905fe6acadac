# What can be done here. Nothing is assumed but Debian 12, Go, make and root.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE    ?= skep
ARCHES   ?= amd64 arm64
OUT      := bin
HOSTARCH := $(shell go env GOARCH)
BUILD    := CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: help build image demo demo-down test lint bench fmt schema

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

build: ## the binary, static, as bin/skep
	$(BUILD) -o $(OUT)/skep ./cmd/skep

image: ## an image for each of ARCHES: IMAGE:VERSION-ARCH; this machine's also as IMAGE:VERSION and IMAGE:latest
	@set -eu; for arch in $(ARCHES); do \
		GOARCH=$$arch $(BUILD) -o $(OUT)/skep-$$arch ./cmd/skep; \
		scripts/image.sh $(OUT)/skep-$$arch $$arch $(VERSION) $(IMAGE); \
	done; \
	if docker image inspect $(IMAGE):$(VERSION)-$(HOSTARCH) >/dev/null 2>&1; then \
		docker tag $(IMAGE):$(VERSION)-$(HOSTARCH) $(IMAGE):$(VERSION); docker tag $(IMAGE):$(VERSION)-$(HOSTARCH) $(IMAGE):latest; \
		echo "$(IMAGE):$(VERSION)"; echo "$(IMAGE):latest"; \
	fi

demo: ## the whole story on this machine, in minutes
	@scripts/setup.sh
	@scripts/demo.sh

demo-down: ## remove everything that the demo made
	@scripts/demo.sh down

test: ## set up, then every test there is
	@scripts/setup.sh
	@go run ./internal/suite

lint: ## gofmt, go vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

bench: ## the figures of docs/design.md
	@scripts/setup.sh
	go run ./bench

fmt: ## gofmt
	gofmt -w .

schema: ## skep.schema.json from the configuration's types
	go run ./cmd/skep config schema >skep.schema.json.new
	mv skep.schema.json.new skep.schema.json
