// Package podexec runs commands in containers of a live cluster, as kubectl exec does.
package podexec

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Container is a container of a pod.
type Container struct{ Namespace, Pod, Name string }

func (c Container) String() string { return fmt.Sprintf("pod %s/%s", c.Namespace, c.Pod) }

// Output runs a command without input and returns what it prints on standard output. It
// takes the right to create pods/exec. The error of a command that fails has what it
// prints on standard error.
func Output(ctx context.Context, config *rest.Config, in Container, command ...string) ([]byte, error) {
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in, err)
	}
	r := client.Get().AbsPath("/api/v1/namespaces", in.Namespace, "pods", in.Pod, "exec").
		Param("container", in.Name).Param("stdout", "true").Param("stderr", "true")
	for _, word := range command {
		r = r.Param("command", word)
	}
	executor, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, r.URL().String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in, err)
	}
	var out, errOut bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut}); err != nil {
		// The streams are still being written to if they were given up.
		if ctx.Err() == nil {
			if printed := strings.TrimSpace(errOut.String()); printed != "" {
				err = fmt.Errorf("%w: %s", err, printed)
			}
		}
		return nil, fmt.Errorf("%s: %s: %w", in, strings.Join(command, " "), err)
	}
	return out.Bytes(), nil
}
