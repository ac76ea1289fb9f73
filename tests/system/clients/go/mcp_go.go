package main

import (
	"context"
	"errors"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// What an application keeps for mcp-go: its registration, and the tokens through `transport.TokenStore`.
type mcpGoCredentials struct {
	ClientID string
	Stored   *client.Token
}

func (c *mcpGoCredentials) GetToken(context.Context) (*client.Token, error) {
	if c.Stored == nil {
		return nil, transport.ErrNoToken
	}
	return c.Stored, nil
}

func (c *mcpGoCredentials) SaveToken(_ context.Context, token *client.Token) error {
	c.Stored = token
	return keep(c)
}

type mcpGo struct {
	client *client.Client
	kept   *mcpGoCredentials
	back   *callback
}

func connectMcpGo(ctx context.Context, endpoint, document string, back *callback) (connection, error) {
	kept := &mcpGoCredentials{}
	if err := read(kept); err != nil {
		return nil, err
	}
	if document != "" {
		kept.ClientID = document
	}
	connected, err := client.NewOAuthStreamableHttpClient(endpoint, client.OAuthConfig{
		ClientID: kept.ClientID, RedirectURI: back.url, TokenStore: kept, PKCEEnabled: true,
		TokenEndpointAuthMethod: "none",
	})
	if err != nil {
		return nil, err
	}
	c := mcpGo{connected, kept, back}
	return c, c.signedIn(ctx, func() error {
		if err := connected.Start(ctx); err != nil {
			return err
		}
		request := mcp.InitializeRequest{}
		request.Params.ProtocolVersion = mcp.LATEST_PROTOCOL_VERSION
		request.Params.ClientInfo = mcp.Implementation{Name: "example-app", Version: "1.0.0"}
		_, err := connected.Initialize(ctx, request)
		return err
	})
}

// signedIn does `action`, and does it again after a sign-in that it asks for, as the library's example does.
func (c mcpGo) signedIn(ctx context.Context, action func() error) error {
	err := action()
	if !client.IsOAuthAuthorizationRequiredError(err) {
		return err
	}
	handler := client.GetOAuthHandler(err)
	verifier, failed := client.GenerateCodeVerifier()
	state, failedToo := client.GenerateState()
	if err := errors.Join(failed, failedToo); err != nil {
		return err
	}
	if handler.GetClientID() == "" {
		if err := handler.RegisterClient(ctx, "Example app: mcp-go"); err != nil {
			return err
		}
		c.kept.ClientID = handler.GetClientID()
	}
	authorize, err := handler.GetAuthorizationURL(ctx, state, client.GenerateCodeChallenge(verifier))
	if err != nil {
		return err
	}
	back, err := c.back.visit(ctx, authorize)
	if err != nil {
		return err
	}
	if err := handler.ProcessAuthorizationResponse(ctx, back.Get("code"), back.Get("state"), verifier); err != nil {
		return err
	}
	return action()
}

func (c mcpGo) tools(ctx context.Context) ([]string, error) {
	names := []string{}
	err := c.signedIn(ctx, func() error {
		listed, err := c.client.ListTools(ctx, mcp.ListToolsRequest{})
		if err != nil {
			return err
		}
		for _, tool := range listed.Tools {
			names = append(names, tool.Name)
		}
		return nil
	})
	return names, err
}

func (c mcpGo) call(ctx context.Context, name string, arguments map[string]any) (structured any, err error) {
	request := mcp.CallToolRequest{}
	request.Params.Name, request.Params.Arguments = name, arguments
	err = c.signedIn(ctx, func() error {
		result, err := c.client.CallTool(ctx, request)
		if err == nil {
			structured = result.StructuredContent
		}
		return err
	})
	return structured, err
}

func (c mcpGo) close() { c.client.Close() }
