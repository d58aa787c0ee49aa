'use strict';

// The public API of the host that serves this page, and the key, which is kept in this closure and nowhere else.

/** A refusal, or that there was no answer: `status` is 0 then. */
class ApiError extends Error {
  constructor({ status, code, message, requestId = null, retryAfter = null, errors = [] }) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.errors = errors;
  }
}

const api = (() => {
  /** Longer than any answer of the API takes. */
  const DEADLINE_MS = 40_000;

  let key = null;
  let usage = null;
  let refused = () => {};

  /** The scopes and the projects of the key. */
  let caller = null;

  async function call(method, path, { query = {}, body = null, idempotencyKey = null, signal = null } = {}) {
    const headers = { accept: 'application/json', 'x-api-key': key };
    if (body !== null) headers['content-type'] = 'application/json';
    if (idempotencyKey !== null) headers['idempotency-key'] = idempotencyKey;
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    const asked = key;
    let response;
    let text;
    try {
      response = await fetch(address(path, query), {
        method,
        headers,
        body: body === null ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
      });
      text = await response.text();
    } catch (cause) {
      if (signal?.aborted) throw cause;
      throw new ApiError({ status: 0, code: 'unreachable', message: 'the API did not answer' });
    }
    noteUsage(response.headers);
    if (response.ok) return parse(text, response);
    const error = problem(text, response);
    // Of a key that was forgotten meanwhile nobody wants to know.
    if (error.status === 401 && key === asked) refused(error);
    throw error;
  }

  /** Relative to this page, so that it may be served from below a path. */
  function address(path, query) {
    const given = Object.entries(query).filter(
      ([, value]) => value !== null && value !== undefined && value !== '',
    );
    const search = new URLSearchParams(given).toString();
    return search === '' ? path : `${path}?${search}`;
  }

  function parse(text, response) {
    try {
      return JSON.parse(text);
    } catch {
      throw new ApiError({
        status: response.status,
        code: 'unreadable',
        message: 'the answer could not be read',
      });
    }
  }

  function problem(text, response) {
    let told = {};
    try {
      told = JSON.parse(text) ?? {};
    } catch {
      // Something between here and the API answered in its own words.
    }
    return new ApiError({
      status: response.status,
      code: told.code ?? 'unknown',
      message: told.message ?? `the API answered with status ${response.status}`,
      requestId: told.request_id ?? response.headers.get('x-request-id'),
      retryAfter: Number(response.headers.get('retry-after')) || null,
      errors: Array.isArray(told.errors) ? told.errors : [],
    });
  }

  /** What is left of the key's rate limit: `RateLimit: "default";r=50;t=30`. */
  function noteUsage(headers) {
    const found = /;r=(\d+)(?:;t=(\d+))?/.exec(headers.get('ratelimit') ?? '');
    usage = found && { left: Number(found[1]), resetSeconds: Number(found[2] ?? 0) };
  }

  return {
    /** Takes a key, and asks who it is. A key that is refused is not kept. */
    async signIn(text) {
      key = text;
      try {
        caller = await call('GET', 'v1/whoami');
      } catch (error) {
        this.forget();
        throw error;
      }
      return caller;
    },

    forget() {
      key = null;
      caller = null;
      usage = null;
    },

    /** Calls `then` with the error when a key that was good before is refused. */
    whenRefused(then) {
      refused = (error) => {
        if (caller) then(error);
      };
    },

    get caller() {
      return caller;
    },

    get usage() {
      return usage;
    },

    may: (scope) => caller?.scopes.includes(scope) ?? false,

    get: (path, options) => call('GET', path, options),
    post: (path, options) => call('POST', path, options),
    patch: (path, options) => call('PATCH', path, options),

    /** Everything that a list has, up to `most`; `isAll` says whether that was all of it. */
    async all(path, { query = {}, signal = null, most = 1000 } = {}) {
      const data = [];
      for (;;) {
        const page = await call('GET', path, {
          query: { ...query, limit: 100, offset: data.length },
          signal,
        });
        data.push(...page.data);
        if (!page.has_more) return { data, isAll: true };
        if (page.data.length === 0 || data.length >= most) return { data, isAll: false };
      }
    },
  };
})();

/** A path, with ids in it made safe for it: `path`v1/keys/${id}``. */
function path(parts, ...ids) {
  return parts.reduce((joined, part, index) => joined + encodeURIComponent(ids[index - 1]) + part);
}

/**
 * Makes the `Idempotency-Key` of a form: the same for the same body, so that sending it again after an answer was lost does
 * nothing twice, and another one as soon as something else is asked for.
 */
function idempotency() {
  let last = null;
  return (body) => {
    const text = JSON.stringify(body);
    if (last?.text !== text) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      last = { text, key: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('') };
    }
    return last.key;
  };
}
