// Signs requests with the libraries of those who send them, and posts them to a hub: as ../python/sign.py does.
//
//     npm ci && node sign.js 127.0.0.1:4150 < ../requests.json

import { createHmac } from "node:crypto";
import { json } from "node:stream/consumers";

import { isValidSlackRequest } from "@slack/bolt";
import * as standardwebhooks from "standardwebhooks";
import Stripe from "stripe";
import * as svix from "svix";
import twilio from "twilio";

const UNAUTHORIZED = { status: 401, body: '{"error":"unauthorized"}' };
const MILLISECONDS_MAX = 10_000;

class StandardWebhooks {
  package = "standardwebhooks";
  encoding = "base64";
  separator = ",";

  constructor(secret, { Webhook } = standardwebhooks, prefix = "webhook") {
    this.prefix = prefix;
    this.header = `${prefix}-signature`;
    this.checks = new Webhook(secret);
  }

  sign(post) {
    const now = new Date();
    const message = `msg_${this.prefix}`;
    return withHeaders(post, {
      [`${this.prefix}-id`]: message,
      [`${this.prefix}-timestamp`]: String(Math.floor(now.getTime() / 1000)),
      [this.header]: this.checks.sign(message, now, post.body.toString()),
    });
  }

  accepts(post) {
    return doesNotThrow(() => this.checks.verify(post.body.toString(), post.headers));
  }
}

class Svix extends StandardWebhooks {
  package = "svix";

  constructor(secret) {
    super(secret, svix, "svix");
  }
}

class StripeLibrary {
  package = "stripe";
  header = "stripe-signature";
  encoding = "hex";
  separator = "=";

  constructor(secret) {
    this.secret = secret;
    this.webhooks = Stripe.webhooks;
  }

  sign(post) {
    const options = { payload: post.body.toString(), secret: this.secret };
    return withHeaders(post, { [this.header]: this.webhooks.generateTestHeaderString(options) });
  }

  accepts(post) {
    const header = post.headers[this.header];
    return doesNotThrow(() => this.webhooks.constructEvent(post.body, header, this.secret));
  }
}

// Slack's library checks only; so what is signed here counts because it accepts it.
class Slack {
  package = "@slack/bolt";
  header = "x-slack-signature";
  encoding = "hex";
  separator = "=";

  constructor(secret) {
    this.secret = secret;
  }

  sign(post) {
    const now = Math.floor(Date.now() / 1000);
    const mac = createHmac("sha256", this.secret).update(`v0:${now}:`).update(post.body);
    const signature = `v0=${mac.digest("hex")}`;
    return withHeaders(post, {
      "x-slack-request-timestamp": String(now),
      [this.header]: signature,
    });
  }

  accepts(post) {
    const headers = {
      "x-slack-request-timestamp": Number(post.headers["x-slack-request-timestamp"]),
      "x-slack-signature": post.headers[this.header],
    };
    const body = post.body.toString();
    return isValidSlackRequest({ signingSecret: this.secret, body, headers });
  }
}

class Twilio {
  package = "twilio";
  header = "x-twilio-signature";
  encoding = "base64";
  separator = ",";

  constructor(secret) {
    this.secret = secret;
  }

  sign(post) {
    let target = post.target;
    if (!isForm(post)) {
      target += `?bodySHA256=${twilio.getExpectedBodyHash(post.body.toString())}`;
    }
    const fields = isForm(post) ? fieldsOf(post) : {};
    const url = post.base + target;
    const signature = twilio.getExpectedTwilioSignature(this.secret, url, fields);
    return withHeaders({ ...post, target }, { [this.header]: signature });
  }

  accepts(post) {
    const url = post.base + post.target;
    const signature = post.headers[this.header];
    return isForm(post)
      ? twilio.validateRequest(this.secret, signature, url, fieldsOf(post))
      : twilio.validateRequestWithBody(this.secret, signature, url, post.body.toString());
  }
}

const LIBRARIES = {
  standardwebhooks: StandardWebhooks,
  svix: Svix,
  stripe: StripeLibrary,
  slack: Slack,
  twilio: Twilio,
};

function isForm(post) {
  return post.headers["content-type"].startsWith("application/x-www-form-urlencoded");
}

/** The fields of a form, as web frameworks give them to Twilio's library: a list where there are several. */
function fieldsOf(post) {
  const form = new URLSearchParams(post.body.toString());
  const fields = [...form.keys()].map((name) => [name, form.getAll(name)]);
  return Object.fromEntries(fields.map(([name, all]) => [name, all.length > 1 ? all : all[0]]));
}

function doesNotThrow(check) {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

function withHeaders(post, headers) {
  return { ...post, headers: { ...post.headers, ...headers } };
}

/** Flips the lowest bit of one byte. */
function flipped(raw, at) {
  const changed = Buffer.from(raw);
  changed[at] ^= 1;
  return changed;
}

/** Flips a bit of the word `hello`, so that the body stays one of its kind. */
function withFlippedBody(post) {
  return { ...post, body: flipped(post.body, post.body.indexOf("hello")) };
}

/** Flips a bit of the decoded signature, so that it stays well written. */
function withFlippedSignature({ header, encoding, separator }, post) {
  const value = post.headers[header];
  const at = value.lastIndexOf(separator) + 1;
  const changed = flipped(Buffer.from(value.slice(at), encoding), 0).toString(encoding);
  return withHeaders(post, { [header]: value.slice(0, at) + changed });
}

async function answerOf(hub, post) {
  const answer = await fetch(`http://${hub}${post.target}`, {
    method: "POST",
    headers: post.headers,
    body: post.body,
    signal: AbortSignal.timeout(MILLISECONDS_MAX),
  });
  const body = await answer.text();
  // Beside its status it has the event's id, which nobody knows before.
  const told = answer.status === 200 && body !== "" ? JSON.parse(body).status : body;
  return { status: answer.status, body: told };
}

/** Posts all there is, and tells of each post whether it went well. */
async function* cases(asked, hub) {
  for (const request of asked.requests) {
    const library = new LIBRARIES[request.signer](asked.sources[request.source].secret);
    const signed = library.sign({
      base: request.signed_at ?? asked.public_url,
      target: `/webhooks/${request.source}`,
      headers: { "content-type": request.type },
      body: Buffer.from(request.body),
    });
    for (const [what, post, accepts, expected] of [
      ["as signed", signed, true, request.answer],
      ["a flipped bit in the body", withFlippedBody(signed), false, UNAUTHORIZED],
      [
        "a flipped bit in the signature",
        withFlippedSignature(library, signed),
        false,
        UNAUTHORIZED,
      ],
    ]) {
      const accepted = library.accepts(post);
      const answer = await answerOf(hub, post);
      const well =
        accepted === accepts && answer.status === expected.status && answer.body === expected.body;
      const name = `${request.name}: ${library.package}, ${what}`;
      const verdict = accepted ? "accepts" : "refuses";
      yield [well, `${name}: the library ${verdict} it, the hub answers ${JSON.stringify(answer)}`];
    }
  }
}

let number = 0;
let failed = 0;
for await (const [well, line] of cases(await json(process.stdin), process.argv.at(-1))) {
  number += 1;
  failed += well ? 0 : 1;
  console.log(`${well ? "ok" : "not ok"} ${number} - ${line}`);
}
console.log(`1..${number}`);
process.exitCode = failed > 0 || number === 0 ? 1 : 0;
