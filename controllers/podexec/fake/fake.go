// Package fake serves what package podexec asks of an API server.
package fake

import (
	"fmt"
	"net/http"

	"golang.org/x/net/websocket"
)

// The protocol of exec over a web socket, and its channels.
const (
	protocol = "v5.channel.k8s.io"
	stdout   = 1
	stderr   = 2
	status   = 3
)

// Command runs a command and returns what it prints and its exit status.
type Command func(words []string) (out, errOut string, exit int)

// Handler serves the subresource exec of a pod.
func Handler(run Command) http.Handler {
	return websocket.Server{
		Handshake: func(c *websocket.Config, _ *http.Request) error {
			c.Protocol = []string{protocol}
			return nil
		},
		Handler: func(c *websocket.Conn) {
			c.PayloadType = websocket.BinaryFrame
			out, errOut, exit := run(c.Request().URL.Query()["command"])
			end := `{"status":"Success"}`
			if exit != 0 {
				end = fmt.Sprintf(`{"status":"Failure","reason":"NonZeroExitCode","message":"exit status %[1]d","details":{"causes":[{"reason":"ExitCode","message":"%[1]d"}]}}`, exit)
			}
			for _, part := range []struct {
				channel byte
				text    string
			}{{stdout, out}, {stderr, errOut}, {status, end}} {
				if _, err := c.Write(append([]byte{part.channel}, part.text...)); err != nil {
					return // the client is gone
				}
			}
			_ = c.Close() // with a closing frame
		},
	}
}
