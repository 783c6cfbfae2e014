// Requests as they are on the wire, for what no client library sends.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import * as jose from 'jose';
import { Browser } from './browser.mjs';
import { callback, people } from './directory.mjs';

const formEncoded = (text) => encodeURIComponent(text).replaceAll('%20', '+');

// basic is that of clients, which encode both parts (RFC 6749 §2.3.1); basicUser is that of people, who do not (RFC 7617 §2).
export const basicUser = ({ username, password }) => ({ authorization: `Basic ${btoa(`${username}:${password}`)}` });
export const basic = (id, secret) => ({ authorization: `Basic ${btoa(`${formEncoded(id)}:${formEncoded(secret)}`)}` });
export const bearer = (token) => ({ authorization: `Bearer ${token}` });
export const json = { 'content-type': 'application/json' };
export const form = (fields) => new URLSearchParams(fields).toString();
export const answered = ({ status, error }) => [status, error];

export const sha256 = async (text) =>
  jose.base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))));

// defined leaves out the members that are undefined.
export const defined = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

export const now = () => Math.floor(Date.now() / 1000);

// prover has a key of its own, and makes DPoP proofs with it that are good but for the claims and the header given (RFC 9449 §4.2).
export async function prover() {
  const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
  const jwk = await jose.exportJWK(publicKey);
  const proof = (htm, htu, claims = {}, header = {}, key = privateKey) =>
    new jose.SignJWT(defined({ htm, htu, jti: crypto.randomUUID(), iat: now(), ...claims }))
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header })
      .sign(key);
  return { proof, privateKey };
}

// wire is a tenant, by its issuer.
export function wire(issuer) {
  // post sends fields or a text to an OAuth endpoint, and checks what holds for each of its answers (RFC 6749 §5.1, §5.2).
  async function post(path, body, headers = {}) {
    const type = body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' };
    const sent = typeof body === 'object' ? form(body) : body;
    const response = await fetch(issuer + path, { method: 'POST', headers: { ...type, ...headers }, body: sent });
    const text = await response.text();
    const answer = text === '' ? {} : JSON.parse(text);
    assert.match(response.headers.get('cache-control') ?? '', /no-store/, `RFC 6749 §5.1: ${path} ${text}`);
    assert.ok(response.status < 500, text);
    if (response.status >= 400) {
      assert.match(response.headers.get('content-type'), /^application\/json/);
      assert.match(answer.error, /^[a-z_]+$/, text);
      assert.match(answer.error_description, /^[\x20\x21\x23-\x5B\x5D-\x7E]+$/, 'RFC 6749 §5.2: characters of error_description');
    }
    if (response.status === 401) assert.ok(response.headers.get('www-authenticate'), 'RFC 9110 §15.5.2');
    return { status: response.status, headers: response.headers, ...answer };
  }

  const token = (fields, headers) => post('/oauth2/token', fields, headers);

  // introspect returns the body of the answer alone.
  async function introspect(value, headers) {
    const { status, headers: _, ...body } = await post('/oauth2/introspect', { token: value }, headers);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  // authorizeURL is an authorization request that is good but for the parameters given, with a challenge that nobody can meet.
  function authorizeURL(parameters) {
    const good = {
      redirect_uri: callback,
      response_type: 'code',
      scope: 'openid',
      code_challenge_method: 'S256',
      code_challenge: 'x'.repeat(43),
    };
    return new URL(`${issuer}/authorize?${form({ ...good, ...parameters })}`);
  }

  // code signs alice in for the client, and returns what redeems the code.
  async function code(client_id, parameters = {}, browser = new Browser(people.alice)) {
    const code_verifier = jose.base64url.encode(crypto.getRandomValues(new Uint8Array(32)));
    const url = authorizeURL({ client_id, scope: 'openid offline_access', code_challenge: await sha256(code_verifier), ...parameters });
    const back = await browser.open(url, callback);
    assert.ok(back instanceof URL, back.html);
    const { code, state } = Object.fromEntries(back.searchParams);
    return { state, redeem: { grant_type: 'authorization_code', code, redirect_uri: callback, code_verifier } };
  }

  // decide asks about a token as the API does that was given it.
  async function decide(value, org, action = 'documents:read') {
    const question = {
      subject: { type: 'credential', id: 'authorization', properties: { authorization: `Bearer ${value}` } },
      action: { name: action },
      resource: { type: 'document', id: 'plan', properties: { org } },
    };
    const headers = { ...json, ...basic('gateway', 'secret-of-gateway-5b1f0c') };
    const response = await fetch(`${issuer}/access/v1/evaluation`, { method: 'POST', headers, body: JSON.stringify(question) });
    assert.equal(response.status, 200);
    return (await response.json()).decision;
  }

  // raw sends headers as they are given, twice if they are there twice.
  function raw(method, path, headers, body = '') {
    return new Promise((done, failed) => {
      const sent = request(issuer + path, { method, headers }, async (response) => {
        done({ status: response.statusCode, headers: response.headers, text: (await response.toArray()).join('') });
      });
      sent.once('error', failed).end(body);
    });
  }

  return { post, token, introspect, authorizeURL, code, decide, raw };
}
