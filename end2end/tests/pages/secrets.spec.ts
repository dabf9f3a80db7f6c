// Secrets on the page of a pipeline and of the installation: set, replaced, removed; their values reach jobs and no page.

import AxeBuilder from "@axe-core/playwright";

import { pipeline } from "../../fixtures/gate";
import { expect, open, test, type Api } from "../../fixtures/stepcast";

/** A pipeline whose job prints how long its secret is, and the secret. */
function naming(name: string): string {
  const spec = JSON.parse(pipeline(name, { work: 'echo "length ${#API_TOKEN}"; echo "it is $API_TOKEN"' }));
  return JSON.stringify({ ...spec, secrets: ["API_TOKEN"] });
}

async function printed(api: Api, name: string): Promise<string[]> {
  const build = await api.finished(await api.trigger(name));
  expect(build.outcome).toBe("succeeded");
  const lines = async () => (await api.log(build.jobs[0]!.id)).map(({ text }) => text);
  await expect.poll(async () => (await lines()).at(-1)).toContain("it is");
  return lines();
}

async function serious(page: import("@playwright/test").Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}

test("an admin of a pipeline sets, replaces and removes a secret, whose value no page has", async ({ page, api }) => {
  await api.apply("site", naming("site"));
  await open(page, "/pipelines/site");
  const section = page.getByRole("region", { name: "Secrets" });
  await expect(section).toContainText("There is none yet.");
  await expect(section).toContainText("API_TOKEN");
  await section.getByLabel("Name").fill("API_TOKEN");
  await section.getByLabel("Value").fill("first value of it");
  await section.getByRole("button", { name: "Set the secret" }).click();
  const row = section.getByRole("list", { name: "Secrets" }).getByRole("listitem").filter({ hasText: "API_TOKEN" });
  await expect(row).toContainText("set by Ada");
  await expect(row).toContainText("given to jobs that name it");
  await expect(section.getByLabel("Value")).toHaveValue("");
  expect(await printed(api, "site")).toEqual(expect.arrayContaining(["length 17", "it is ***"]));

  await row.getByRole("button", { name: "Replace API_TOKEN" }).click();
  await row.getByLabel("Value").fill("another one");
  await row.getByRole("button", { name: "Save" }).click();
  await expect(row.getByLabel("Value")).toBeHidden();
  expect(await printed(api, "site")).toContain("length 11");
  expect(await serious(page)).toEqual([]);

  await page.reload();
  await expect(row).toBeVisible();
  const html = await page.content();
  expect(html).not.toContain("first value of it");
  expect(html).not.toContain("another one");
  await row.getByRole("button", { name: "Remove API_TOKEN" }).click();
  await row.getByRole("button", { name: "Keep it" }).click();
  await expect(row).toBeVisible();
  await row.getByRole("button", { name: "Remove API_TOKEN" }).click();
  await row.getByRole("button", { name: "Remove it" }).click();
  await expect(row).toBeHidden();
  const left = (await (await api.request("GET", "/pipelines/site/secrets")).json()) as { secrets: unknown[] };
  expect(left.secrets).toEqual([]);
});

test("what is wrong with a name or a value is said beside it, and what was typed stays", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/status of 4(00|22)/);
  await api.apply("site", naming("site"));
  await open(page, "/pipelines/site");
  const section = page.getByRole("region", { name: "Secrets" });
  const set = section.getByRole("button", { name: "Set the secret" });
  await section.getByLabel("Name").fill("a/b");
  await section.getByLabel("Value").fill("long enough");
  await set.click();
  await expect(section.getByRole("alert")).toContainText("capital letters, digits or `_`");
  await section.getByLabel("Name").fill("SHORT");
  await section.getByLabel("Value").fill("abc");
  await set.click();
  await expect(section.getByRole("alert")).toContainText("too short to be masked");
  await expect(section.getByLabel("Name")).toHaveValue("SHORT");
});

test("a secret of the installation is for the pipelines that are named, and stays so with another value", async ({ page, api }) => {
  await api.apply("site", naming("site"));
  await api.apply("docs", naming("docs"));
  await open(page, "/");
  await page.getByRole("button", { name: "Signed in as Ada" }).click();
  await page.getByRole("link", { name: "Secrets", exact: true }).click();
  await expect(page).toHaveURL(/\/secrets$/);
  await page.getByLabel("Name").fill("API_TOKEN");
  await page.getByLabel("Value").fill("of all of them");
  await page.getByLabel("Only for").fill("site, docs");
  await page.getByRole("button", { name: "Set the secret" }).click();
  const row = page.getByRole("list", { name: "Secrets" }).getByRole("listitem");
  await expect(row).toContainText("for site and docs only, used by docs and site");
  expect(await printed(api, "docs")).toContain("length 14");
  await row.getByRole("button", { name: "Replace API_TOKEN" }).click();
  await row.getByLabel("Value").fill("another");
  await row.getByRole("button", { name: "Save" }).click();
  await expect(row.getByLabel("Value")).toBeHidden();
  await expect(row).toContainText("for site and docs only");
  expect(await printed(api, "docs")).toContain("length 7");
  // Nor does the form open it to all.
  await page.getByLabel("Name").fill("API_TOKEN");
  await page.getByRole("textbox", { name: "Value" }).fill("a third one");
  await page.getByRole("button", { name: "Set the secret" }).click();
  await expect(page.getByText("API_TOKEN is set.")).toBeVisible();
  expect(await printed(api, "docs")).toContain("length 11");
  await page.reload();
  await expect(row).toContainText("for site and docs only");
  expect(await serious(page)).toEqual([]);
  await open(page, "/pipelines/docs");
  await expect(page.getByRole("region", { name: "Secrets" })).toContainText("API_TOKEN is the installation's (work).");
});

test.describe("who is no admin", () => {
  test.use({ signedIn: false });

  test("sees neither secrets nor hooks of a pipeline, and not the page of the installation's", async ({ page, api, stepcast, expectedComplaints }) => {
    expectedComplaints.push(/status of 403/);
    await api.apply("site", naming("site"));
    const set = await api.request("PUT", "/pipelines/site/secrets/API_TOKEN", "value of it", { "content-type": "text/plain" });
    expect(set.status).toBe(201);
    await stepcast.account("Eve", "builder");
    await stepcast.enter(page, "Eve");
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await open(page, "/pipelines/site");
    await expect(page.getByRole("heading", { name: "Pipeline file" })).toBeVisible();
    await expect(page.getByRole("heading", { name: "Secrets" })).toHaveCount(0);
    await expect(page.getByRole("heading", { name: "Hooks" })).toHaveCount(0);
    expect(asked).not.toContain("/api/page/pipeline_admin");
    await page.goto("/secrets");
    await expect(page.getByRole("alert")).toContainText("role admin");
  });
});
