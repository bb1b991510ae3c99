# The two commands of the README, and what they need.

CARGO ?= cargo
BUILD_PACKAGES = gcc libc6-dev git
DEMO_PACKAGES = debootstrap umoci runc skopeo
TEST_PACKAGES = busybox-static umoci skopeo runc docker-registry docker.io iptables procps python3 openssh-client openssh-server iproute2 passt slirp4netns

.PHONY: demo test bench coverage setup-demo setup-test

demo: setup-demo ## build a real image and run it
	$(CARGO) build --release --locked
	BKL=$$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/bkl examples/demo/run.sh

test: setup-test ## every test
	$(CARGO) test --locked

bench: ## the figures of the README
	benches/run.sh
	benches/contexts.sh

coverage: ## lines of the language that tests run
	benches/coverage.sh

setup-demo:
	@.ci/deps $(BUILD_PACKAGES) $(DEMO_PACKAGES)

setup-test:
	@.ci/deps $(BUILD_PACKAGES) $(TEST_PACKAGES)
