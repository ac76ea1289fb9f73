package main

import (
	"context"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

// What an application keeps for the Go SDK: its tokens and what is needed to refresh them.
type goSDKCredentials struct {
	Config oauth2.Config
	Token  *oauth2.Token
}

// A source that keeps each new token.
type keepingSource struct {
	kept   goSDKCredentials
	source oauth2.TokenSource
}

func (s *keepingSource) Token() (*oauth2.Token, error) {
	token, err := s.source.Token()
	if err == nil && (s.kept.Token == nil || token.AccessToken != s.kept.Token.AccessToken) {
		s.kept.Token = token
		err = keep(s.kept)
	}
	return token, err
}

func newKeepingSource(ctx context.Context, config *oauth2.Config, token *oauth2.Token) (oauth2.TokenSource, error) {
	source := &keepingSource{goSDKCredentials{*config, token}, config.TokenSource(ctx, token)}
	return source, keep(source.kept)
}

type goSDK struct{ session *mcp.ClientSession }

func connectGoSDK(ctx context.Context, endpoint, document string, back *callback) (connection, error) {
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: back.url,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			parameters, err := back.visit(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			return &auth.AuthorizationResult{
				Code: parameters.Get("code"), State: parameters.Get("state"), Iss: parameters.Get("iss"),
			}, nil
		},
		RequestRefreshToken: true,
		NewTokenSource:      newKeepingSource,
		Client:              http.DefaultClient,
	}
	if document != "" {
		config.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: document}
	} else {
		config.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName:              "Example app: go-sdk",
				RedirectURIs:            []string{back.url},
				GrantTypes:              []string{"authorization_code", "refresh_token"},
				TokenEndpointAuthMethod: "none",
			},
		}
	}
	var kept goSDKCredentials
	if err := read(&kept); err != nil {
		return nil, err
	}
	if kept.Token != nil {
		source, err := newKeepingSource(ctx, &kept.Config, kept.Token)
		if err != nil {
			return nil, err
		}
		config.InitialTokenSource = source
	}
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		return nil, err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "example-app", Version: "1.0.0"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, nil)
	if err != nil {
		return nil, err
	}
	return goSDK{session}, nil
}

func (c goSDK) tools(ctx context.Context) ([]string, error) {
	listed, err := c.session.ListTools(ctx, nil)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, tool := range listed.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}

func (c goSDK) call(ctx context.Context, name string, arguments map[string]any) (any, error) {
	result, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return nil, err
	}
	return result.StructuredContent, nil
}

func (c goSDK) close() { c.session.Close() }
