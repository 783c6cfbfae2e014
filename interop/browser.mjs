// A person with a browser that has cookies and no scripts.
import assert from 'node:assert/strict';

const entities = { amp: '&', lt: '<', gt: '>', quot: '"', '#34': '"', '#39': "'", '#43': '+' };
const text = (html) => html.replace(/&(#?\w+);/g, (whole, name) => entities[name] ?? whole);

function attributes(tag) {
  return Object.fromEntries([...tag.matchAll(/([\w-]+)(?:="([^"]*)")?/g)].slice(1).map(([, name, value]) => [name, text(value ?? '')]));
}

// forms are those of a page, each with its fields in order.
export function forms(html) {
  return [...html.matchAll(/(<form[^>]*>)([\s\S]*?)<\/form>/g)].map(([, tag, inside]) => ({
    ...attributes(tag),
    fields: [...inside.matchAll(/<(?:input|button)\b[^>]*>/g)].map(([field]) => attributes(field)),
  }));
}

// formAction says where the forms of a page may lead, redirects included, as browsers hold it (Content-Security-Policy 3 §6.4.1).
function formAction(policy, page) {
  const sources = /form-action ([^;]*)/.exec(policy ?? '')?.[1].split(' ');
  const matches = (source, url) => (source === "'self'" ? url.origin === page.origin : [url.origin, url.protocol].includes(source));
  return (url) => !sources || sources.some((source) => matches(source, url));
}

export class Browser {
  // answers are what the person enters or chooses, by the names of fields.
  constructor(answers) {
    this.answers = { decision: 'allow', ...answers };
    this.cookies = new Map();
    this.titles = []; // of the pages seen
    this.html = []; // of all answers
  }

  async fetch(url, init = {}) {
    const sent = [...this.cookies.values()]
      .filter((c) => c.host === url.hostname && url.pathname.startsWith(c.path))
      .map((c) => c.pair)
      .join('; ');
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { ...(sent && { cookie: sent }), ...init.headers } });
    for (const header of response.headers.getSetCookie()) {
      const [pair, ...rest] = header.split(/; */);
      const of = Object.fromEntries(rest.map((part) => part.split('=')).map(([name, value]) => [name.toLowerCase(), value]));
      const cookie = { pair, host: url.hostname, path: of.path ?? '/' };
      const key = `${cookie.host} ${cookie.path} ${pair.split('=')[0]}`;
      if (of['max-age'] === '0' || Date.parse(of.expires) < Date.now()) this.cookies.delete(key);
      else this.cookies.set(key, cookie);
    }
    return response;
  }

  // open goes to the URL and does what each page asks for, until it is sent to a URL that begins like until, which is returned
  // without a request, or to a page without a form, of which the answer is returned.
  async open(start, until = 'none:') {
    let url = new URL(start);
    let init = {};
    let mayLead = () => true;
    for (let step = 0; step < 20; step++) {
      const response = await this.fetch(url, init);
      const html = await response.text();
      this.html.push(html);
      let next = response.headers.get('location');
      init = {};
      if (!next) {
        this.titles.push(text(/<title>([^<]*)/.exec(html)?.[1] ?? ''));
        mayLead = () => true;
        next = text(/http-equiv="refresh" content="\d+; url=([^"]*)"/.exec(html)?.[1] ?? '');
      }
      if (!next) {
        const form = forms(html).at(-1);
        if (!form || this.titles.length > 10) return { status: response.status, html, headers: response.headers };
        next = form.action;
        init = {
          method: 'POST',
          body: new URLSearchParams(this.fill(form, html)),
          headers: { origin: 'null', 'sec-fetch-site': 'same-origin' },
        };
        mayLead = formAction(response.headers.get('content-security-policy'), url);
      }
      url = new URL(next, url);
      assert.ok(mayLead(url), `the page ${this.titles.at(-1)} does not let a form lead to ${url}`);
      if (url.href.startsWith(until)) return url;
    }
    assert.fail(`the browser is sent around: ${this.titles.join(', ')}`);
  }

  // fill answers the fields that are to be filled in, and presses the button that is the answer, if there is a choice.
  fill(form, html) {
    const filled = {};
    for (const { name, type = 'text', value = '', required } of form.fields) {
      const answer = this.answers[name];
      if (type === 'hidden') filled[name] = value;
      else if (['text', 'password'].includes(type)) {
        filled[name] = answer ?? value;
        assert.ok(filled[name] || required === undefined, `no answer for ${name} of ${html}`);
      } else if (name && value === answer) filled[name] = value;
    }
    return filled;
  }
}
