'use strict';

// Calls the public API of the server that serves this page. The key is kept in this closure and nowhere else.

/** An error answer of the API. `status` is 0 if no answer came. */
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
  /** Longer than the API ever takes to answer. */
  const DEADLINE_MS = 40_000;

  /** The most rows that the API puts into a page of any list. */
  const PAGE_ROWS = 100;

  let key = null;
  let usage = null;
  let refused = () => {};

  /** What `GET /v1/whoami` says about the key. */
  let caller = null;

  async function call(
    method,
    path,
    { query = {}, body = null, idempotencyKey = null, signal = null, read = parse } = {},
  ) {
    const headers = { accept: read === parse ? 'application/json' : '*/*', 'x-api-key': key };
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
    if (response.ok) return read(text, response);
    const error = problem(text, response);
    // The user may have entered another key since this call began.
    if (error.status === 401 && key === asked) refused(error);
    throw error;
  }

  /** A relative address, so the page also works when a proxy serves it below a path. */
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
        message: 'the answer is not JSON',
      });
    }
  }

  function problem(text, response) {
    let body = {};
    try {
      body = JSON.parse(text) ?? {};
    } catch {
      // A proxy in between may answer with its own page.
    }
    return new ApiError({
      status: response.status,
      code: body.code ?? 'unknown',
      message: body.message ?? `the API answered with status ${response.status}`,
      requestId: body.request_id ?? response.headers.get('x-request-id'),
      retryAfter: Number(response.headers.get('retry-after')) || null,
      errors: Array.isArray(body.errors) ? body.errors : [],
    });
  }

  /** Reads the requests left and the seconds until reset from `RateLimit: "default";r=50;t=30`. */
  function noteUsage(headers) {
    const found = /;r=(\d+)(?:;t=(\d+))?/.exec(headers.get('ratelimit') ?? '');
    usage = found && { left: Number(found[1]), resetSeconds: Number(found[2] ?? 0) };
  }

  return {
    /** Keeps a key if the API accepts it, and returns what `GET /v1/whoami` says about it. */
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

    /** Calls `then` with the error when the API refuses a key that it accepted before. */
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
    /** The text of an answer that is not JSON. */
    text: (path, options) => call('GET', path, { ...options, read: (text) => text }),
    post: (path, options) => call('POST', path, options),
    patch: (path, options) => call('PATCH', path, options),
    delete: (path, options) => call('DELETE', path, options),

    /**
     * Returns a function that reads the next page of a list. A page may have fewer rows than were asked for, because the
     * API also bounds pages in bytes. So the next page starts at the cursor, or after the rows that were received.
     */
    pages(path, { query = {}, signal = null } = {}) {
      let start = {};
      let received = 0;
      return async () => {
        const page = await call('GET', path, { query: { ...query, limit: PAGE_ROWS, ...start }, signal });
        received += page.data.length;
        start = page.next_cursor ? { cursor: page.next_cursor } : { offset: received };
        return { data: page.data, isLast: !page.has_more || page.data.length === 0 };
      };
    },

    /** The rows of a list, read in at most `requests` requests. `isAll` is false if the list has more. */
    async all(path, { query = {}, signal = null, requests = 10 } = {}) {
      const next = this.pages(path, { query, signal });
      const data = [];
      for (let request = 0; request < requests; request += 1) {
        const page = await next();
        data.push(...page.data);
        if (page.isLast) return { data, isAll: true };
      }
      return { data, isAll: false };
    },
  };
})();

/** A path with ids in it, which are escaped: `path`v1/keys/${id}``. */
function path(parts, ...ids) {
  return parts.reduce((joined, part, index) => joined + encodeURIComponent(ids[index - 1]) + part);
}

/**
 * Makes the `Idempotency-Key` of a form. The same body gets the same key, so sending a form again after a lost answer
 * creates nothing twice. Another body gets another key.
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

/** Names of projects by id. `isAll` is false if the key cannot list projects or there are more than are read. */
async function listProjects(signal) {
  if (!api.may('projects:read')) return { names: new Map(), isAll: false };
  const { data, isAll } = await api.all('v1/projects', { signal });
  return { names: new Map(data.map((project) => [project.id, project.name])), isAll };
}

const projectNames = async (signal) => (await listProjects(signal)).names;

/** The same, with the projects of a key that cannot list them. Those have their id as name. */
async function reachableProjects(signal) {
  const { names, isAll } = await listProjects(signal);
  if (api.caller.all_projects) return { names, isAll };
  for (const id of api.caller.project_ids) if (!names.has(id)) names.set(id, id);
  return { names, isAll: true };
}
