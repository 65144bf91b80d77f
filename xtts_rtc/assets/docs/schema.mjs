// JSON Schema as far as openapi.json uses it: one flat description per field. Knows no document.

export function resolve(schema, api) {
  const name = schema?.$ref?.split("/").pop();
  return name ? resolve(api.components.schemas[name], api) : (schema ?? {});
}

// What a field takes: {kind, choices, min, max, isOptional, words}.
export function describe(schema, api) {
  const plain = resolve(schema, api);
  const choices = (plain.anyOf ?? [plain]).map((one) => resolve(one, api));
  const isOptional = choices.some((one) => one.type === "null");
  const given = choices.find((one) => one.type !== "null") ?? {};
  const values = given.enum ?? (given.const === undefined ? null : [given.const]);
  const kinds = choices.filter((one) => one.type !== "null").map((one) => one.format === "binary" || one.contentMediaType ? "file" : (one.type ?? "any"));
  return {
    kind: values ? "choice" : kinds[0] ?? "any",
    kinds,
    values,
    min: given.minimum ?? given.exclusiveMinimum,
    max: given.maximum ?? given.exclusiveMaximum,
    isOptional,
    words: [values ? `one of ${values.join(", ")}` : kinds.join(" or "), range(given), plain.description ?? given.description ?? ""].filter(Boolean),
  };
}

function range(schema) {
  const parts = [];
  if (schema.minimum !== undefined) parts.push(`from ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) parts.push(`over ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) parts.push(`to ${schema.maximum}`);
  if (schema.exclusiveMaximum !== undefined) parts.push(`under ${schema.exclusiveMaximum}`);
  if (schema.maxLength !== undefined) parts.push(`at most ${schema.maxLength} characters`);
  return parts.join(", ");
}

// All fields of a route: path and query parameters, then those of its body.
export function fieldsOf(route, api) {
  const fields = (route.parameters ?? []).map((one) => ({
    name: one.name, place: one.in, isRequired: one.required ?? false, schema: one.schema, ...describe(one.schema, api),
  }));
  const [media, content] = Object.entries(route.requestBody?.content ?? {})[0] ?? [null, null];
  const body = resolve(content?.schema, api);
  for (const [name, schema] of Object.entries(body.properties ?? {})) {
    fields.push({ name, place: "body", isRequired: (body.required ?? []).includes(name), schema, ...describe(schema, api) });
  }
  return { fields, media };
}

// Text from a form to the value that the field takes.
export function valueOf(field, text) {
  if (field.kind === "choice") return field.values.find((value) => String(value) === text);
  if (field.kind === "integer" || field.kind === "number") return Number(text);
  if (field.kind === "boolean") return text === "true";
  return text;
}
