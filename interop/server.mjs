// The harness: the real binary on a loopback port with a data folder of its own, and a list of every secret that went over
// the wire, which its log must not have.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTLSServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

const secrets = new Set();

export function remember(secret) {
  if (secret?.length >= 8) secrets.add(secret);
}

const secretParameters = new Set(
  `client_secret client_assertion code code_verifier refresh_token access_token id_token password token device_code user_code assertion
  subject_token actor_token continue request_uri key secret partner_token`.split(/\s+/),
);

function rememberAll(entries) {
  for (const [name, value] of entries) if (secretParameters.has(name) && typeof value === 'string') remember(value);
}

// members are those of a JSON object; other texts have none.
function members(text) {
  try {
    return text.startsWith('{') ? Object.entries(JSON.parse(text)) : undefined;
  } catch {
    return undefined;
  }
}

// Every client uses the global fetch, so all that they send and get passes here.
const plainFetch = globalThis.fetch;
globalThis.fetch = async (input, init = {}) => {
  const headers = new Headers(init.headers ?? input.headers);
  const [, credential = ''] = headers.get('authorization')?.split(/ +/) ?? [];
  remember(credential);
  remember(headers.get('dpop'));
  if (/^basic /i.test(headers.get('authorization'))) remember(Buffer.from(credential, 'base64').toString().split(':')[1]);
  rememberAll(new URL(input.url ?? input).searchParams);
  const body = init.body?.toString() ?? '';
  rememberAll(members(body) ?? new URLSearchParams(body));
  const response = await plainFetch(input, init);
  rememberAll(new URL(response.headers.get('location') ?? '', 'http://none').searchParams);
  for (const cookie of response.headers.getSetCookie()) remember(cookie.split(';')[0].split('=')[1]);
  if (response.headers.get('content-type')?.startsWith('application/json')) rememberAll(members(await response.clone().text()) ?? []);
  return response;
};

// certificate is one of those that ./run has made, with its key.
export async function certificate(name) {
  const [cert, key] = certificateFiles(name);
  return { cert: await readFile(cert), key: await readFile(key) };
}

function certificateFiles(name) {
  assert.ok(process.env.CERTIFICATES, 'use ./run');
  return ['cert.pem', 'key.pem'].map((file) => join(process.env.CERTIFICATES, name, file));
}

const listening = [];
after(() => Promise.all(listening.map((close) => close())));

// listen serves on a loopback port, of the system's choice if none is given, until it is closed or the test file ends. Secure says
// whether with TLS, by the certificate that ./run has made.
export async function listen(handler, port = 0, { secure = false } = {}) {
  const listener = secure ? createTLSServer(await certificate('server'), handler) : createServer(handler);
  await new Promise((done, failed) => listener.once('error', failed).listen(port, '127.0.0.1', done));
  const close = () =>
    new Promise((done) => {
      listener.close(done);
      listener.closeAllConnections();
    });
  listening.push(close);
  return { origin: `http://127.0.0.1:${listener.address().port}`, port: listener.address().port, close };
}

export async function freePort() {
  const { port, close } = await listen(() => {});
  await close();
  return port;
}

// start runs Mandate until the end of the test file, and then looks for secrets in its log. The directories are those of the
// tenants; what is JSON is YAML as well. Secure says whether it serves with TLS and asks for the certificates of clients.
export async function start({ directory, staging = { tenant: 'staging' }, config = {}, secure = false }) {
  assert.ok(process.env.MANDATE, 'use ./run');
  const folder = await mkdtemp(join(tmpdir(), 'mandate-interop-'));
  const listen = `127.0.0.1:${await freePort()}`;
  const issuer = `http${secure ? 's' : ''}://${listen}`;
  rememberNested(directory);
  rememberNested(staging);
  const write = async (name, document) => {
    await writeFile(join(folder, name), JSON.stringify(document));
    return join(folder, name);
  };
  const tenants = {
    default: { directory: await write('default.yaml', directory) },
    staging: { directory: await write('staging.yaml', staging) },
  };
  const [cert, key] = secure ? certificateFiles('server') : [];
  const tls = secure ? { certificate: cert, key, client_ca: certificateFiles('client')[0], client_certificates: true } : {};
  const file = await write('mandate.yaml', {
    listen,
    public_url: issuer,
    data: join(folder, 'data'),
    tenants,
    tls,
    log: { level: 'debug' },
    ...config,
  });
  const server = spawn(process.env.MANDATE, ['serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [server.stdout, server.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      log += text;
    });
  const clear = () => {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', clear).once('uncaughtExceptionMonitor', clear);
  const ended = new Promise((done) => server.once('exit', done));
  after(async () => {
    server.kill('SIGTERM');
    assert.equal(await ended, 0, log);
    assert.match(log, /level=DEBUG msg=request/, 'the log is that of a server that logs all it can');
    assert.doesNotMatch(log, /panic/);
    for (const secret of secrets)
      assert.ok(!log.includes(secret), `the log has the secret ${secret}:\n${log.split('\n').find((line) => line.includes(secret))}`);
  });
  const ready = () =>
    plainFetch(`${issuer}/readyz`).then(
      (response) => response.ok,
      () => false,
    );
  while (!(await ready())) {
    assert.equal(server.exitCode, null, log);
    await Promise.race([ended, new Promise((done) => setTimeout(done, 50))]);
  }
  // logged waits for a line.
  const logged = async (pattern) => {
    const signal = AbortSignal.timeout(5000);
    while (!pattern.test(log)) await once(server.stderr, 'data', { signal });
  };
  return { issuer, staging: `${issuer}/t/staging`, logged };
}

function rememberNested(value) {
  if (value === null || typeof value !== 'object') return;
  rememberAll(Object.entries(value));
  Object.values(value).forEach(rememberNested);
}
