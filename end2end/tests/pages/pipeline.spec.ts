// A pipeline's page: its text is edited and saved, and what is wrong with it is said where it stands.

import { pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

/** A refused request shows in the browser's console. */
const REFUSED = /status of 422/;

const WRONG = `name: site
jobs:
  build:
    step:
      - run: make
`;

test("a wrong key is answered with a sentence, its line and its column, and nothing is saved", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(REFUSED);
  await api.apply("site", pipeline("site", { build: "true" }));
  await open(page, "/pipelines/site");
  await page.getByLabel("Pipeline in YAML").fill(WRONG);
  await page.getByRole("button", { name: "Save" }).click();

  const problem = page.getByRole("alert");
  await expect(problem).toContainText("Line 4, column 5");
  await expect(problem).toContainText("`step`");
  await expect(page.getByText("Not saved yet")).toBeVisible();
  const kept = (await (await api.request("GET", "/pipelines/site")).json()) as { yaml: string };
  expect(kept.yaml).toBe(pipeline("site", { build: "true" }));
});

test("a corrected text is saved, and its inputs appear in the form", async ({ page, api }) => {
  await api.apply("site", pipeline("site", { build: "true" }));
  await open(page, "/pipelines/site");
  const text = "name: site\ninputs:\n  ref: {default: main, description: What to build}\njobs:\n  build:\n    steps: [{run: make}]\n";
  await page.getByLabel("Pipeline in YAML").fill(text);
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByLabel("ref")).toHaveValue("main");
  const kept = (await (await api.request("GET", "/pipelines/site")).json()) as { yaml: string };
  expect(kept.yaml).toBe(text);
});

test("who saves is told so, and goes on writing where they were", async ({ page, api }) => {
  await api.apply("site", pipeline("site", { build: "true" }));
  await open(page, "/pipelines/site");
  const area = page.getByLabel("Pipeline in YAML");
  const caret = () => area.evaluate((element) => (element as HTMLTextAreaElement).selectionStart);
  const text = "name: site\ndescription: Builds it\njobs:\n  build:\n    steps: [{run: make}]\n";
  await area.fill(text);
  await area.press("Control+Home");
  await page.keyboard.press("End");
  await page.keyboard.type(" # the site");
  const status = page.locator(".editor").getByRole("status");
  await expect(status).toHaveText("Not saved yet");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(status).toHaveText("Saved");
  await expect(page.getByText("Builds it", { exact: true })).toBeVisible();
  await expect(area).toBeFocused();
  expect(await caret()).toBe("name: site # the site".length);
  await page.keyboard.press("Control+z");
  await expect(area).toHaveValue(text);
  await expect(status).toHaveText("Not saved yet");

  // By the keyboard the focus stays on what was pressed.
  await page.getByRole("button", { name: "Save" }).press("Enter");
  await expect(status).toHaveText("Saved");
  await expect(page.getByRole("button", { name: "Save" })).toBeFocused();
});

test("who leaves with changes is asked, by a link, the start of a build and the end of the tab, and nobody else", async ({ page, api }) => {
  await api.apply("site", pipeline("site", { build: "true" }));
  await open(page, "/");
  await page.getByRole("link", { name: "site", exact: true }).click();
  const area = page.getByLabel("Pipeline in YAML");
  const asked: string[] = [];
  let answer = false;
  page.on("dialog", async (dialog) => {
    asked.push(dialog.type());
    await (answer ? dialog.accept() : dialog.dismiss());
  });
  await area.click();
  await page.keyboard.type("# changed\n");
  const text = await area.inputValue();
  const home = page.getByRole("navigation", { name: "Breadcrumb" }).getByRole("link", { name: "Pipelines" });
  await home.click();
  await page.getByRole("button", { name: "Build site" }).click();
  expect(asked).toEqual(["confirm", "confirm"]);
  await page.close({ runBeforeUnload: true });
  await expect.poll(() => asked).toEqual(["confirm", "confirm", "beforeunload"]);
  await expect(page).toHaveURL(/\/pipelines\/site$/);
  await expect(area).toHaveValue(text);
  await expect(page.locator(".build-row")).toHaveCount(0);
  // Where the text stays, nothing is asked.
  await page.getByRole("navigation", { name: "Which builds" }).getByRole("link", { name: "Failed" }).click();
  await expect(page).toHaveURL(/state=failed$/);
  await expect(area).toHaveValue(text);
  expect(asked.length).toBe(3);

  answer = true;
  await home.click();
  await expect(page).toHaveURL(/\/$/);
  expect(asked.length).toBe(4);
  // It is over with the page that asked.
  await page.getByRole("link", { name: "site", exact: true }).click();
  await expect(area).not.toHaveValue(text);
  await home.click();
  await expect(page).toHaveURL(/\/$/);
  expect(asked.length).toBe(4);
});

test("a new pipeline is saved under the name in its text", async ({ page }) => {
  await open(page, "/pipelines/new");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page).toHaveURL(/\/pipelines\/my-pipeline$/);
  await expect(page.getByRole("heading", { name: "my-pipeline" })).toBeVisible();
});

test("a text with markup is shown as text", async ({ page, api }) => {
  const text = "name: site\ndescription: <b>bold</b> &amp; more\njobs: {build: {steps: [{run: 'echo </textarea> &lt;'}]}}\n";
  await api.apply("site", text);
  await open(page, "/pipelines/site");
  await expect(page.getByLabel("Pipeline in YAML")).toHaveValue(text);
  await expect(page.getByText("<b>bold</b> &amp; more", { exact: true })).toBeVisible();
});

test("the builds that failed are listed under an address of their own, live, and what was being written stays", async ({ page, api }) => {
  const steps = [{ name: "work", run: 'exit "$INPUT_CODE"' }];
  const inputs = { code: { default: "0" } };
  await api.apply("work", JSON.stringify({ ...JSON.parse(pipeline("work", { work: { steps } })), inputs }));
  for (const code of ["0", "1", "0"]) await api.finished(await api.trigger("work", { code }));
  await open(page, "/pipelines/work");
  const rows = page.locator(".build-row");
  await expect(rows).toHaveCount(3);
  const text = page.getByLabel("Pipeline in YAML");
  await text.fill("name: work");

  const filter = page.getByRole("navigation", { name: "Which builds" });
  await filter.getByRole("link", { name: "Failed" }).click();
  await expect(page).toHaveURL(/\/pipelines\/work\?state=failed$/);
  await expect(rows).toHaveCount(1);
  await expect(rows).toContainText("#2");
  await api.trigger("work", { code: "3" });
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText("#4");
  await expect(text).toHaveValue("name: work");

  await filter.getByRole("link", { name: "Running" }).click();
  await expect(page.getByText("No build of it runs at the moment.")).toBeVisible();
  await filter.getByRole("link", { name: "All" }).click();
  await expect(rows).toHaveCount(4);
  await page.goBack();
  await expect(filter.locator("[aria-current]")).toHaveText("Running");
});

test("a text that was changed elsewhere meanwhile is overwritten only by who says so", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/status of 412/);
  const theirs = pipeline("site", { build: "echo theirs" });
  const mine = pipeline("site", { build: "echo mine" });
  await api.apply("site", pipeline("site", { build: "true" }));
  await open(page, "/pipelines/site");
  await api.apply("site", theirs);
  await page.getByLabel("Pipeline in YAML").fill(mine);
  await page.getByRole("button", { name: "Save" }).click();

  await expect(page.getByRole("alert")).toContainText("changed meanwhile");
  const kept = async () => ((await (await api.request("GET", "/pipelines/site")).json()) as { yaml: string }).yaml;
  expect(await kept()).toBe(theirs);
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.locator(".editor").getByRole("status")).toHaveText("Saved");
  expect(await kept()).toBe(mine);
});

test("a new pipeline does not take the place of one of the same name", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/status of 412/);
  const text = pipeline("site", { build: "true" });
  await api.apply("site", text);
  await open(page, "/pipelines/new");
  await page.getByLabel("Pipeline in YAML").fill(pipeline("site", { build: "echo other" }));
  await page.getByRole("button", { name: "Save" }).click();

  await expect(page.getByRole("alert")).toContainText("There is a pipeline `site` already");
  await expect(page).toHaveURL(/\/pipelines\/new$/);
  const kept = (await (await api.request("GET", "/pipelines/site")).json()) as { yaml: string };
  expect(kept.yaml).toBe(text);
});
