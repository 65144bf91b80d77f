// A phone built on the AudioSocket library of the people who wrote Asterisk's module. It calls, sends a
// recording in real time, writes what it hears to a file, and tells each thing that happens as a line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/CyCoreSystems/audiosocket"
	"github.com/gofrs/uuid"
)

type event struct {
	What   string  `json:"what"`
	Ms     float64 `json:"ms"`
	Bytes  int     `json:"bytes,omitempty"`
	Detail string  `json:"detail,omitempty"`
}

var (
	began = time.Now()
	lock  sync.Mutex
	out   = json.NewEncoder(os.Stdout)
)

func tell(what string, bytes int, detail string) {
	lock.Lock()
	defer lock.Unlock()
	_ = out.Encode(event{what, float64(time.Since(began).Microseconds()) / 1000, bytes, detail})
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	addr := flag.String("addr", "", "host:port of the server")
	id := flag.String("id", "", "UUID of the call")
	say := flag.String("say", "", "file of 8 kHz samples to send after -wait")
	heard := flag.String("heard", "", "file for what is heard")
	wait := flag.Duration("wait", 0, "silence before the recording")
	digits := flag.String("digits", "", "keys to press, one each second after -wait")
	leave := flag.Duration("leave", 0, "hang up after so long; 0: wait until the other side does")
	flag.Parse()

	conn, err := net.Dial("tcp", *addr)
	must(err)
	defer conn.Close()
	parsed, err := uuid.FromString(*id)
	must(err)
	_, err = conn.Write(audiosocket.IDMessage(parsed))
	must(err)
	file, err := os.Create(*heard)
	must(err)
	defer file.Close()

	go speak(conn, *say, *wait)
	go press(conn, *digits, *wait)
	if *leave > 0 {
		time.AfterFunc(*leave, func() {
			tell("leave", 0, "")
			_, _ = conn.Write(audiosocket.HangupMessage())
		})
	}
	listen(conn, file)
}

// listen reads with the library alone: it wants each frame in one piece.
func listen(conn net.Conn, file *os.File) {
	for {
		m, err := audiosocket.NextMessage(conn)
		if err != nil {
			tell("closed", 0, err.Error())
			return
		}
		switch m.Kind() {
		case audiosocket.KindSlin:
			tell("audio", int(m.ContentLength()), "")
			_, err = file.Write(m.Payload())
			must(err)
		case audiosocket.KindHangup:
			tell("hangup", 0, "")
			return
		default:
			tell("other", int(m.ContentLength()), fmt.Sprintf("kind 0x%02x", byte(m.Kind())))
		}
	}
}

func speak(conn net.Conn, path string, wait time.Duration) {
	silence := make([]byte, int(wait/(20*time.Millisecond))*audiosocket.DefaultSlinChunkSize)
	if audiosocket.SendSlinChunks(conn, audiosocket.DefaultSlinChunkSize, silence) != nil {
		return
	}
	if path != "" {
		recording, err := os.ReadFile(path)
		must(err)
		tell("speak", len(recording), "")
		if audiosocket.SendSlinChunks(conn, audiosocket.DefaultSlinChunkSize, recording) != nil {
			return
		}
		tell("spoken", 0, "")
	}
	for audiosocket.SendSlinChunks(conn, audiosocket.DefaultSlinChunkSize, make([]byte, 16_000)) == nil {
	}
}

// press sends the digits that the library has no message for.
func press(conn net.Conn, digits string, wait time.Duration) {
	time.Sleep(wait)
	for i := 0; i < len(digits); i++ {
		tell("press", 0, digits[i:i+1])
		if _, err := conn.Write(audiosocket.MessageFromData([]byte{0x03, 0, 1, digits[i]})); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}
