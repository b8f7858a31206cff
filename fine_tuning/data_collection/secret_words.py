"""Words for secrets, in the languages of chats, and what stands between them and a value.

Patterns of RE2 (``compiled``) run over whole texts; those of ``re`` look at one value.
"""

# ruff: noqa: RUF001 - marks and letters of other scripts are meant
from __future__ import annotations

import re

from fine_tuning.data_collection.private_spans import compiled, joined_lines

LATIN_PASSWORDS = joined_lines(r"""
    pass(?:word|wd|phrase|code|wort)|pwd|pw|kennwort|login-?passwort
    |wlan-?(?:passwort|schlüssel)|wi-?fi key
    |mot de passe|mdp|contraseña|contrasena|clave|senha|palavra-passe|parola(?: d'ordine)?
    |has[łl][oae]m?|wachtwoord|lösenord|passord|adgangskode|salasana|heslo|kata sandi|sandi""")
OTHER_PASSWORDS = joined_lines(r"""
    парол[а-я]*|şifre(?:m|si)?|jelszó|mật khẩu|密码|密碼|口令|パスワード|비밀번호|암호|패스워드
    |รหัสผ่าน|พาสเวิร์ด
    |كلمة (?:المرور|السر)(?: الخاصة بي)?|كلمة مروري|باسورد|पासवर्ड""")
PASSWORD = joined_lines(rf"""
    (?P<word>(?:\b|_)(?i:{LATIN_PASSWORDS}|pass)\b
    |[a-z](?:Password|Passwd|Pwd|Passphrase)\b|(?i:{OTHER_PASSWORDS}))""")
VAGUE = re.compile(r"(?i)_?(?:clave|parola|pass|pw|sandi|heslo)")
"""Words for passwords that mean other things too."""
LINK = joined_lines(r"""
    (?P<link>(?:\*{1,2}|`|\\?[\"'])?\]?\s*(?:=>|:=|={1,3}|[:：＝]|->|→)\s*
    |(?i:\s+(?:for|of|to|on|für|von|vom|zum|de|del|des|du|do|da|di|per|al|pour|para|van|voor|на
    |для|от)\s+(?:(?:the|my|our|mein\w*|le|la|el|mon|ma|mi)\s)?
    [\pL\pN.\-]{1,20}(?: [\pL\pN.\-]{1,20})?\s*(?:[:=：—–]\s*| - |\s(?:is|ist|est|es|é|è|jest)\s+))
    |(?i:\s+(?:was|is|are|ist|lautet|est|es|é|è|to|jest|это|olarak|adalah|هي|هو|है|-|–|—)
    (?:\s+(?:set to|still|currently|just|now|jetzt|maintenant|ahora|agora|теперь))?\s*[:：]?\s+)
    |(?:ของ(?:ฉัน|ผม|เรา|หนู))?\s?(?:は|が|是|为|為|就是|改成了?|은|는|이|가|คือ|เป็น|هي|هو|है)\s?
    |[ \t]+)""")
OPEN = r"(?P<open>\*{1,2}|\\?[\"'`]|[“”„«»‘’「『])?"
ASSIGNED = compiled(PASSWORD + LINK + OPEN)
KEY_NAMES = joined_lines(r"""
    (?:[A-Za-z_][\w.\-]*)?(?i:secret|secret[_\-]?key|credentials?|token|key|authorization
    |session[_\-]?id|sessid)
    |(?i:\b(?:api|access|secret|private|auth|client|license|account|storage|master|encryption
    |signing|bot|app)
    [ ](?:key|token|secret))""")
SETTING = compiled(
    rf"(?P<name>{KEY_NAMES})"
    r"(?P<link>\\?[\"'`]?\]?\s*(?:=>|:=|[:=：])[ \t]*|[ \t]+(?i:is|to|ist|est|es)[ \t]+|[ \t]+)"
    r"(?P<open>\\?[\"'`“«]|\*{1,2})?"
)
NO_KEY = re.compile(
    joined_lines(r"""(?i)
    (?:.*[_.\-])?(?:public|primary|foreign|sort|partition|cache|unique|index|row|hash|range
    |group|dict|map|lookup|object|s3|redis|route|react
    |data|translation|message|config|setting|json|composite|natural|idempotency|shift|ctrl|arrow
    |hot|short|menu|mon|don|tur|whis
    |joc|first|last|max|min|next|prev|previous|eos|bos|pad|unk|sep|cls|mask|special|current|page
    |continuation|stop|start|end)
    [_.\- ]?(?:key|token)|key|the
    |(?:.*[_.\-])?(?:num|n|total|id|the|each|per|one|a|this|every)[_.\- ](?:token|key)""")
)
STRONG_NAME = re.compile(
    r"(?i)api|secret|access|auth|private|client|token|encrypt|sign|master|account|credential"
)
FLAG = compiled(
    joined_lines(r"""
    (?:^|[\s\"'`(])--?(?i:[a-z0-9\-]*(?:password|passwd|passphrase|pass|pwd|token|secret
    |api-?key|access-key|auth-key|secret-key))
    (?P<link>[= ])(?P<open>[\"'])?
    |\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n|;]*?\s-p(?P<q1>[\"'])?
    |\b(?:sshpass|docker login|podman login|helm registry login|az login|oc login|ldapsearch|7z
    |zip)\b[^\n|;]*?\s-[pwP] ?(?P<q2>[\"'])?
    |\bcurl\b[^\n|;]*?\s(?:-u|--user)[ =][\"']?[^\s:\"']+:
    |\bredis-cli\b[^\n|;]*?\s-a\s(?P<q3>[\"'])?""")
)
BEARER = compiled(r"(?i:\b(?P<scheme>bearer|basic)\s+)(?P<value>[A-Za-z0-9._~+/\-]+=*)")
LATIN_CODES = joined_lines(r"""
    pins?|puk|pin-?code|pin number|geheimzahl|cvv2?|cvc2?|security code|card code|tans?|otp
    |2fa(?: code)?|mfa code
    |one-?time (?:pass)?(?:code|word|pin)|passcode
    |(?:verification|confirmation|authentication|auth|login|access|gate|door|alarm|unlock|entry
    |lock|sms|reset|recovery|activation|backup) code
    |(?:bestätigungs|sicherheits|verifizierungs|zugangs|tür|freischalt|einmal)-?code
    |code (?:de vérification|de confirmation|de sécurité|secret|confidentiel|pin)
    |código (?:de verificación|de segurança|de verificação|de seguridad|de confirmación|pin)
    |codice (?:di verifica|di sicurezza|pin)|kod (?:weryfikacyjny|pin|sms)|verificatiecode
    |pincode|toegangscode|doğrulama kodu""")
OTHER_CODES = joined_lines(r"""
    пин-?код[а-я]*|код (?:подтверждения|из смс|доступа|безопасности)|验证码|驗證碼|動態密碼
    |安全码|認証コード|確認コード|暗証番号
    |セキュリティコード|인증번호|인증 ?코드|보안코드
    |รหัส ?(?:OTP|PIN|ยืนยัน)|رمز (?:التحقق|الأمان|التأكيد)
    |الرقم السري|ओटीपी|पिन""")
CODE_HINT = r"""
    \b(?i:pins?|puk|cvv2?|cvc2?|tans?|otp|2fa|[a-z]*code|código|codice|kod|geheimzahl|код|пин)\b
    |пин-?код|код |验证|驗證|動態密|安全码
    |認証コ|確認コ|暗証番|セキュリティコ|인증|보안코|رمز|السري|ओटी|पिन"""
CODE = compiled(
    joined_lines(rf"""
    (?P<word>\b(?i:{LATIN_CODES})\b|(?i:{OTHER_CODES}))""")
    + joined_lines(r"""
    (?P<link>(?:[ \t:=：#*_\"'`(\[,\-]
    |(?i:\b(?:is|was|ist|lautet|est|es|é|è|to|jest|number|no|code|pin|my|the|for|card|phone|door
    |it|of|für|die|das|la|le|el|now
    |still|set|your|mein|sim|bank|account|app|here|please|bitte|und|and)\b|для|это)
    |是|は|为|為|은|는|이|가|คือ|هو|है){0,12})(?P<value>G-\d{6}|\d{3}[ \-]\d{3}\b|\d{3,8})""")
)
LOGIN = compiled(
    joined_lines(r"""
    (?i)\b(?:login|log-in|credentials?|creds|user(?:name)?|account|zugangsdaten
    |zugang|identifiants?|acceso|usuario)\s?[:=]\s*
    (?P<user>[\w.@+\-]{2,40})\s*(?:/|\||,)\s*(?P<value>[^\s,;\"'`<>]{6,64})""")
)
STOP = re.compile(
    joined_lines(r"""
    [\s\"'`<>,;\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb
    \u060c\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef\u0e00-\u0e7f\x00]
    |\\\\[n\"]""")
)
CLOSERS = {
    '"': '"', "'": "'", "`": "`", "“": "”", "”": "”", "„": "“",
    "«": "»", "»": "«", "‘": "’", "’": "’",
    "「": "」", "『": "』", '\\"': '\\"', "\\'": "\\'", "*": "*", "**": "**",
}  # fmt: skip
PROGRAM = re.compile(
    joined_lines(r"""
    ^[A-Za-z_][\w.]*[(\[{]|[(\[{]$|^[$%{(\[&@]|::|->|^\W+$
    |^(?:os|sys|process|env|config|settings|self|this|request|req|app|ctx|args|params|props
    |secrets|var|data|local|module|random
    |hashlib|bcrypt|getpass|input|user|form|ENV|System|Deno)\.[A-Za-z_]
    |\.(?:get|env|text|value|strip|encode|password|token|key|secret)\b|^(?:https?|ftp)://
    |^[\w.+\-]+@[\w\-]+\.[A-Za-z]""")
)
TEMPLATE = re.compile(r"^[$%{<\[]|[$#]\{|\{\{|%\(|^\{.*\}$")
MEMBER = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
"""What programs write for a field of something."""
DUMMY = re.compile(
    joined_lines(r"""(?i)
    (?:<?your|<?my)[_\- ]?(?:[a-z]*[_\- ]?)*(?:password|passwd|secret|token|key|here
    |pass)[_\- ]?(?:here)?|<?your[_\-].*
    |x{3,}.*|\*+|•+|\.{2,}|…+|_+|-+|#+|example\w*|placeholder|dummy\w*|<.*|\$.*|\{.*|\[.*
    |(?:insert|enter|replace|put|paste|add|set|change)[_\- ].*
    |redacted|hidden|secrets?|passwords?|passwort|passwd|tokens?|key|none|null|nil|undefined
    |true|false|yes|no
    |str|string|text|varchar|int|bool|boolean|bytes|char|any|object|optional|required|field|todo
    |tbd|n/a|na|empty|default|env|vault
    |prompt|stdin|file|basic|bearer|digest|plaintext|bcrypt|argon2(?:id?)?|sha-?\d+|md5|hash
    |hashed|encrypted|secretstr|utf-?8|oauth2?|base64
    |pbkdf2|scrypt|totp|2fa|mfa|saml2?|ldap|kerberos|aes-?\d*|rsa-?\d*|manager|reset|protected""")
)
TALK = re.compile(
    joined_lines(r"""(?i)
    (?:a|an|the|in|on|at|to|too|not|very|so|as|and|or|that|what|which|when|where|how|why|if|it
    |this|my|your|of|for|with|by|only|just
    |also|already|never|always|still|now|being|been|longer|shorter|something|someone|anything
    |nothing|wrong|right|correct|incorrect
    |invalid|valid|weak|strong|secure|insecure|secret|long|short|easy|hard|simple|complex|old
    |new|gone|lost|stolen|known|unknown|ok
    |okay|fine|good|bad|public|private|safe|unsafe|there|here|mandatory|random|unique|different
    |same|blank|missing|due|back|must
    |should|shall|can|cannot|could|may|might|will|would|has|have|had|is|was|are|does|do|needs
    |need|reset|change|field|manager|policy
    |prompt|hash|again|below|above|case|forgotten|forgot|i|you|we|he|she|they|minimum|enough
    |sent|kept|set|stupid|top|accepted
    |failed|enter|login|username|email|user|name|about|hint|input|error|help|label|form|page
    |settings?|recovery|security
    |falsch|richtig|korrekt|ungültig|gültig|zu|sehr|nicht|kein\w*|ein\w*|der|die|das|wichtig
    |sicher|unsicher|schwach|stark|lang|kurz
    |weg|vergessen|abgelaufen|leer|nötig|erforderlich|geheim|gesperrt|geändert|notwendig|pflicht
    |neu|alt|schon|noch|immer|bitte|ich
    |wir|sie|es|incorrecte?|invalide|trop|pas|obligatoire|requise?|oublié|expiré|faux|le|la|les
    |un|une|très|faible|fort|sécurisé
    |incorrect[ao]|inválid[ao]|muy|demasiado|obligatoria|débil|fuerte|segura|olvidada|una|el
    |errat[ao]|sbagliat[ao]|troppo|molto
    |debole|scaduta|non|obbligatoria|forte|incorreta|errada|muito|fraca|não|obrigatória|uma|o
    |niepoprawne|błędne|nieprawidłowe|za
    |zbyt|słabe|silne|bardzo|nie|wymagane|onjuist|verkeerd|zwak|sterk|te|niet|een|verplicht
    |неверный|неправильный|неверен|слишком|очень|не|обязателен|должен|слабый|надежный|надёжный
    |истёк|забыт|нужен
    |yanlış|zayıf|güçlü|çok|değil|gerekli)""")
)
ADJECTIVE = re.compile(
    joined_lines(r"""(?i)
    .{2,}(?:ed|ing|able|ible|ful|less|ive|ous|ent|ant|ary|ory|iert|bar|lich|isch|ado|ada|ido|ida|ato|ata
    |uto|uta|ный|ен|ван)""")
)
POSSESSIVE = re.compile(
    joined_lines(r"""(?i)
    (?:\b(?:my|our|his|her|their|mein\w*|unser\w*|mon|ma|notre|mi|nuestra|minha|nossa|mia|mijn
    |moje|mój|мой|наш|wi-?fi|wlan|router
    |admin|root|login|account|email|e-mail|netflix|gmail|facebook|instagram|new|neues|nuevo
    |database|db|server|guest)\s+)$""")
)
UNITS = re.compile(
    joined_lines(r"""(?i)
    [\s\-]*(?:chars?|characters?|zeichen|digits?|bits?|bytes|letters|caract\w+|znak\w*|символ\w*
    |rules|times|words|minutes|days|or more
    |to \d|%|文字|个字符|位|자리|ตัวอักษร)""")
)
