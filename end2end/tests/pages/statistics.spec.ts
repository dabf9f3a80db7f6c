// The statistics on a pipeline's page: drawn by the server, said in words and in a table, and honest while there are none.

import { expect, open, test } from "../../fixtures/stepcast";

const SITE = JSON.stringify({
  name: "site",
  jobs: {
    shaky: { attempts: 2, steps: [{ name: "try", run: "[ $STEPCAST_ATTEMPT -gt 1 ]" }] },
    "slow": { steps: [{ name: "<b>wait</b>", run: "read -r -t 2 <> <(:) || :" }] },
  },
});

test("builds are counted by day, with the slowest steps and the flaky jobs", async ({ page, api }) => {
  await api.apply("site", SITE);
  await open(page, "/pipelines/site");
  const section = page.getByRole("region", { name: "Statistics", exact: true });
  await expect(section).toContainText("No finished builds yet.");
  await expect(section.locator("svg")).toHaveCount(0);

  for (let n = 0; n < 2; n++) expect((await api.finished(await api.trigger("site"))).outcome).toBe("succeeded");
  const counted = async () => {
    await page.reload();
    return section.innerText();
  };
  await expect.poll(counted, { timeout: 60_000 }).toContain("2 builds in the last 30 days: 100 % succeeded");
  for (const chart of [/^Builds: succeeded/, /^Duration: half/]) {
    await expect(section.getByRole("img", { name: chart })).toBeVisible();
  }
  await section.getByText("As a table").click();
  const days = section.getByRole("region", { name: "Statistics by day" });
  await expect(days.locator("tbody tr")).toHaveCount(1);
  await expect(days.locator("tbody td").first()).toHaveText("2");
  await expect(section.getByRole("region", { name: "Slowest steps" }).locator("tbody th").first()).toHaveText("<b>wait</b> slow");
  const flaky = section.getByRole("region", { name: "Flaky jobs" }).locator("tbody tr");
  await expect(flaky).toHaveCount(1);
  await expect(flaky).toContainText("shaky");

  await page.setViewportSize({ width: 390, height: 800 });
  const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(await sideways(), "nothing sticks out on a phone").toBe(0);
});
