// Addresses in a log: http and https lead there, in another tab that learns nothing of this one; nothing else leads anywhere.

import { pipeline } from "../../fixtures/gate";
import { row } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

test("an address that a build prints can be followed, and nothing else", async ({ page, api, stepcast }) => {
  const text = [
    `echo 'report: ${stepcast.url}/executors, done'`,
    String.raw`printf 'in \033[32mcolour https://example.org/\033[1ma?b=c\033[0m (https://example.org/d)\n'`,
    `echo 'javascript:alert(1) data:text/html,x <a href="https://example.org/quoted">no markup</a>'`,
  ].join("\n");
  await api.apply("links", pipeline("links", { work: text }));
  const build = await api.trigger("links");
  await api.finished(build);
  await open(page, `/builds/${build}`);

  const links = (n: number) => row(page, n).locator(".t a");
  await expect(links(0)).toHaveText([`${stepcast.url}/executors`]);
  await expect(links(0)).toHaveAttribute("rel", /noopener noreferrer/);
  // Two looks, one address.
  await expect(links(1)).toHaveText(["https://example.org/", "a?b=c", "https://example.org/d"]);
  const address = "https://example.org/a?b=c";
  expect(await links(1).evaluateAll((all) => all.map((link) => (link as HTMLAnchorElement).href))).toEqual([address, address, "https://example.org/d"]);
  await expect(links(2)).toHaveText(["https://example.org/quoted"]);

  const opened = page.context().waitForEvent("page");
  await links(0).click();
  const tab = await opened;
  await expect(tab.getByRole("heading", { name: "Executors" })).toBeVisible();
  expect(await tab.evaluate(() => window.opener)).toBeNull();
  await expect(page).toHaveURL(new RegExp(`/builds/${build}`));
});
