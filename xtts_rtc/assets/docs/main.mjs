// openapi.json as a page: every route with its parameters, their ranges, its answers, and a form to try it.

import { show } from "./answer.mjs";
import { fieldsOf, valueOf } from "./schema.mjs";

const element = (name, props = {}, ...children) => {
  const made = Object.assign(document.createElement(name), props);
  made.append(...children);
  return made;
};
const root = new URL(".", document.baseURI);

function routeCard(path, method, route, api) {
  const { fields, media } = fieldsOf(route, api);
  const inputs = new Map(fields.map((field) => [field, input(field)]));
  const rows = fields.map((field) => element("tr", {},
    element("td", {}, element("code", { textContent: field.name }), field.isRequired ? " *" : ""),
    element("td", { className: "soft" }, field.words.join("; "), standard(field)),
    element("td", {}, inputs.get(field))));
  const answers = Object.entries(route.responses ?? {}).map(([status, one]) =>
    element("tr", {}, element("td", {}, element("code", { textContent: status })),
      element("td", {}, one.description ?? ""),
      element("td", { className: "soft", textContent: Object.keys(one.content ?? {}).join(", ") })));
  const result = element("div", { className: "result" });
  result.setAttribute("aria-live", "polite");
  const form = element("form", {},
    element("table", { className: "fields" }, ...rows), element("button", { type: "submit", textContent: "Try it" }), result);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(path, method, media, inputs, result);
  });
  const summary = element("summary", {}, element("span", { className: "method", textContent: method.toUpperCase() }),
    element("code", { textContent: path }), element("span", { className: "soft", textContent: route.summary ?? "" }));
  const body = element("div", { className: "body" }, element("p", { textContent: route.description ?? "" }), form,
    element("h3", { textContent: "Answers" }), element("table", { className: "answers" }, ...answers));
  const card = element("details", { className: "route" }, summary, body);
  card.dataset.route = `${method} ${path}`;
  return card;
}

function standard(field) {
  const value = field.schema.default;
  return value === undefined ? "" : `; default ${JSON.stringify(value)}`;
}

function input(field) {
  const made = field.kind === "choice" || field.kind === "boolean" ? choice(field)
    : field.kind === "file" ? element("input", { type: "file" })
    : field.kind === "string" && field.place === "body" && field.isRequired ? element("textarea", { rows: 2 })
    : element("input", { type: field.kind === "integer" || field.kind === "number" ? "number" : "text", step: field.kind === "integer" ? 1 : "any" });
  made.name = field.name;
  made.setAttribute("aria-label", field.name);
  return made;
}

function choice(field) {
  const values = field.kind === "boolean" ? [true, false] : field.values;
  return element("select", {}, element("option", { value: "", textContent: "" }),
    ...values.map((value) => element("option", { value: String(value), textContent: String(value) })));
}

async function ask(path, method, media, inputs, result) {
  const { url, options } = requestOf(path, method, media, inputs);
  result.textContent = "…";
  const begun = performance.now();
  try {
    const response = await fetch(url, options);
    await show(response, performance.now() - begun, result);
  } catch (error) {
    result.replaceChildren(element("p", { className: "bad", textContent: `The transfer was cut off: ${error.message}` }));
  }
}

// Fields that were left empty are not sent: the server's defaults hold.
function requestOf(path, method, media, inputs) {
  const isForm = media?.startsWith("multipart/");
  const form = new FormData();
  const body = {};
  const query = new URLSearchParams();
  let target = path;
  for (const [field, made] of inputs) {
    const text = made.type === "file" ? made.files[0] : made.value;
    if (field.place === "path") target = target.replace(`{${field.name}}`, encodeURIComponent(text));
    else if (text === "" || text === undefined) continue;
    else if (field.place === "query") query.set(field.name, text);
    else if (isForm) form.set(field.name, text);
    else body[field.name] = valueOf(field, text);
  }
  const headers = new Headers(media && !isForm ? { "Content-Type": media } : {});
  const key = document.getElementById("key").value;
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const url = new URL(target.replace(/^\//, ""), root);
  url.search = query.toString();
  return { url, options: { method: method.toUpperCase(), headers, body: media ? (isForm ? form : JSON.stringify(body)) : undefined } };
}

async function main() {
  const response = await fetch(new URL("openapi.json", root));
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const api = await response.json();
  document.getElementById("version").textContent = `${api.info.title} ${api.info.version}`;
  const cards = Object.entries(api.paths).flatMap(([path, routes]) =>
    Object.entries(routes).map(([method, route]) => routeCard(path, method, route, api)));
  document.getElementById("routes").replaceChildren(...cards);
  document.body.dataset.state = "ready";
}

main().catch((error) => {
  const problem = document.getElementById("problem");
  problem.textContent = `The description of the API could not be read. ${error.message}`;
  problem.hidden = false;
  document.body.dataset.state = "failed";
});
