// The MCP clients of Go, as programs: `go-clients LIBRARY URL`, where LIBRARY is `go-sdk` or `mcp-go`.
//
// With `--client-metadata-url URL` it uses its metadata document. The credentials are kept in a file under HOME. The
// lines are those of fastmcp_program.py: a line of tools, then a line for each call.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
)

// A connection of one of the libraries.
type connection interface {
	tools(context.Context) ([]string, error)
	// call returns the structured content of the result of a tool.
	call(context.Context, string, map[string]any) (any, error)
	close()
}

// The server that the browser comes back to.
type callback struct {
	url      string
	cameBack chan url.Values
}

func listening() (*callback, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	back := &callback{fmt.Sprintf("http://%s/callback", listener.Addr()), make(chan url.Values, 1)}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "Connected.")
		if r.URL.Path == "/callback" {
			back.cameBack <- r.URL.Query()
		}
	}))
	return back, nil
}

// The parameters with which the person at BROWSER comes back from `authorize`.
func (c *callback) visit(ctx context.Context, authorize string) (url.Values, error) {
	if err := exec.Command(os.Getenv("BROWSER"), authorize).Run(); err != nil {
		return nil, err
	}
	select {
	case parameters := <-c.cameBack:
		return parameters, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func path() string { return filepath.Join(os.Getenv("HOME"), "credentials.json") }

// read fills `kept` from the file, which need not be there.
func read(kept any) error {
	text, err := os.ReadFile(path())
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	return json.Unmarshal(text, kept)
}

// keep replaces the file, which other processes of the same application read.
func keep(kept any) error {
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	draft := fmt.Sprintf("%s.%d", path(), os.Getpid())
	if err := os.WriteFile(draft, text, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, path())
}

func converse(ctx context.Context, client connection) error {
	out := json.NewEncoder(os.Stdout)
	names, err := client.tools(ctx)
	if err != nil {
		return err
	}
	if err := out.Encode(names); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var name string
		var arguments map[string]any
		if err := json.Unmarshal(lines.Bytes(), &[]any{&name, &arguments}); err != nil {
			return err
		}
		structured, err := client.call(ctx, name, arguments)
		if err != nil {
			return err
		}
		if err := out.Encode(map[string]any{"structured": structured, "text": []string{}}); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	library, endpoint, document := os.Args[1], os.Args[2], ""
	if len(os.Args) > 4 {
		document = os.Args[4]
	}
	libraries := map[string]func(context.Context, string, string, *callback) (connection, error){
		"go-sdk": connectGoSDK, "mcp-go": connectMcpGo,
	}
	back, err := listening()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	client, err := libraries[library](ctx, endpoint, document, back)
	if err != nil {
		log.Fatal(err)
	}
	defer client.close()
	if err := converse(ctx, client); err != nil {
		log.Fatal(err)
	}
}
