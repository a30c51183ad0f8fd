# What each target does is in e2e/make/run.sh; this file gives them their names.
SHELL := /bin/bash
.DEFAULT_GOAL := help
RUN := e2e/make/run.sh

# `make proof firstlight` is `make proof AREA=firstlight`.
ifeq (proof,$(firstword $(MAKECMDGOALS)))
ifneq (,$(word 2,$(MAKECMDGOALS)))
AREA := $(word 2,$(MAKECMDGOALS))
.PHONY: $(AREA)
$(AREA): ; @:
endif
endif

.PHONY: help up down check test proof bench crds

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Start a real Kubernetes here, install lyceum, apply one CourseShard and load real data
	@$(RUN) up

down: ## Stop it and remove everything that up made
	@$(RUN) down

check: ## Format, lints, unit tests, generated files in date, charts
	@$(RUN) check

test: ## check, then up, then one scenario of each kind on the real cluster
	@$(RUN) test

proof: ## The full series of one area, with a dated result: make proof firstlight
	@$(RUN) proof $(AREA)

bench: ## Measure what benches/ promises and compare with its ranges
	@$(RUN) bench

crds: ## Write the CRDs from the Rust types into the chart and crds/yaml
	@$(RUN) crds
