module xtts-rtc/audiosocket-peer

go 1.22

require (
	github.com/CyCoreSystems/audiosocket v0.2.1
	github.com/gofrs/uuid v3.2.0+incompatible
)

require github.com/pkg/errors v0.8.1 // indirect
