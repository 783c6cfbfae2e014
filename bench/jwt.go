package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
)

const (
	tokenPath     = "/oauth/token"
	tokenLifetime = 24 * time.Hour // longer than any run
	accessTokens  = 1000
)

// jwt measures what an access token costs as the credential of the caller: an ES256 signature to verify, where an API
// key is looked up. Both are sent to the same server with the same questions.
func jwt(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	withKey, err := b.serveMandate(ctx, g, g.questions)
	if err != nil {
		return err
	}
	defer withKey.stop()
	tokens, err := b.accessTokens(ctx, g, withKey.child)
	if err != nil {
		return err
	}
	inTurn := func(i int) string { return "Bearer " + tokens[i%len(tokens)] }
	withToken, err := askMandate(withKey.child, "access tokens", g.questions, inTurn)
	if err != nil {
		return err
	}
	withKey.name = "API key"
	b.note("%s access tokens of %d clients, taken in turn", humanize.Comma(int64(len(tokens))), keyClients)
	if err := b.compare(ctx, g.questions, withToken, withKey); err != nil {
		return err
	}
	return b.race(ctx, b.overHTTP(withToken, withKey))
}

// accessTokens lets the clients get their tokens from the server.
func (b *bench) accessTokens(ctx context.Context, g *ground, c *child) ([]string, error) {
	b.say("getting %s access tokens", humanize.Comma(accessTokens))
	exchanges := make([]exchange, accessTokens)
	for i := range exchanges {
		id := clientID(i % keyClients)
		body, err := json.Marshal(map[string]string{"grant_type": "client_credentials", "scope": "decide",
			"audience": "http://" + c.address, "client_id": id, "client_secret": g.secrets[id].Expose()})
		if err != nil {
			return nil, fmt.Errorf("encode a request for a token: %w", err)
		}
		exchanges[i].request = post(c.address, tokenPath, "", body)
	}
	tokens := make([]string, len(exchanges))
	err := each(ctx, c.address, exchanges, b.Connections, func(i int, body []byte) error {
		var response struct {
			AccessToken string `json:"access_token"`
		}
		err := json.Unmarshal(body, &response)
		tokens[i] = response.AccessToken
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get access tokens: %w", err)
	}
	return tokens, nil
}
