import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';

interface OpenApi {
  readonly paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema?: object }> }> }>
  >;
  readonly components: { readonly schemas: Record<string, object> };
}

/** Response schemas of the recorded OpenAPI contract. */
export class Contract {
  readonly #document: OpenApi;
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor(path: string) {
    this.#document = JSON.parse(readFileSync(path, 'utf8')) as OpenApi;
    this.#ajv.addSchema({ $id: 'contract', components: this.#document.components });
  }

  /** The template of the contract a concrete path belongs to; literal segments win over parameters. */
  template(path: string): string | undefined {
    const segments = path.split('?')[0]!.split('/');
    return Object.keys(this.#document.paths)
      .filter((template) => {
        const parts = template.split('/');
        return (
          parts.length === segments.length && parts.every((part, at) => part.startsWith('{') || part === segments[at])
        );
      })
      .sort((a, b) => a.split('{').length - b.split('{').length)[0];
  }

  /** Asserts that a body is what the contract promises for this route and status; statuses it leaves open pass. */
  validate(method: string, path: string, status: number, body: unknown): void {
    const template = this.template(path);
    assert.ok(template, `the contract has no path for ${path}`);
    const schema =
      this.#document.paths[template]?.[method.toLowerCase()]?.responses[status]?.content?.['application/json']?.schema;
    if (schema === undefined || Object.keys(schema).length === 0) return;
    // A problem document's `detail` is a list for schema violations; other 422s carry a text, as the reference does.
    if (status === 422 && typeof (body as { detail?: unknown }).detail === 'string') return;
    const name = `${method} ${template} ${status}`;
    let validator = this.#compiled.get(name);
    if (!validator) {
      const local = JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"contract#/components/')) as object;
      validator = this.#ajv.compile(local);
      this.#compiled.set(name, validator);
    }
    assert.ok(validator(body), `${name}: ${this.#ajv.errorsText(validator.errors)}`);
  }
}
